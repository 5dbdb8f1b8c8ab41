//go:build past

package store

// newestFormat is the format of a version without limits, for tests of a downgrade.
const newestFormat = firstFormat
