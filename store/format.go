//go:build !past

package store

// newestFormat is what this program reads at most.
const newestFormat = limitsFormat
