//go:build !past

package store

// newestFormat is the newest format that this version reads.
const newestFormat = limitsFormat
