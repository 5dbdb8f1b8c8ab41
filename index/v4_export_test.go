package index

// ReadV4 returns a generation that somebody else has written, for Lookup alone.
func ReadV4(words []uint64) *V4 { return &V4{words: words} }
