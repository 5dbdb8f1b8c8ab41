//go:build past

package store

// newestFormat is that of a version before limits, for tests of going back.
const newestFormat = firstFormat
