package differential

import "github.com/paraxial/paraxial/policy"

// limits are the kernel's rate limits. The buckets never run empty here: every packet that counts
// against one is charged, and passes.
type limits struct {
	words []uint64
	rates map[uint32]policy.Rate // of the existing buckets
}

// The words of struct limit.
const (
	limitWords = 8
	wordTAT    = 0
	wordCost   = 1
	wordBurst  = 3
	wordSteps  = 4
)

func (l limits) put(records []policy.LimitRecord) {
	for _, r := range records {
		l.rates[r.ID] = r.Rate
		w := l.words[r.ID*limitWords:][:limitWords]
		w[wordTAT], w[wordCost], w[wordBurst] = 0, 1<<16, 1<<32-1
		for i, step := range r.Steps {
			w[wordSteps+i] = uint64(step.Until) | uint64(step.Bucket)<<32
		}
	}
}

func (l limits) free(ids []uint32) {
	for _, id := range ids {
		delete(l.rates, id)
	}
}

// used returns the rate of the bucket that was charged since the last call, or the zero rate if
// none was. An unused bucket has no valid rate.
func (l limits) used() (rate policy.Rate) {
	for id := range uint32(len(l.words) / limitWords) {
		if at := id*limitWords + wordTAT; l.words[at] != 0 {
			l.words[at] = 0
			var ok bool
			if rate, ok = l.rates[id]; !ok {
				return policy.Rate{PerSecond: uint64(id)}
			}
		}
	}
	return rate
}
