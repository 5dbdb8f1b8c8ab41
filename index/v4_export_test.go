package index

// ReadV4 returns a generation that another process has written, for Lookup only.
func ReadV4(words []uint64) *V4 { return &V4{words: words} }
