package report

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
)

// maxSources is how many sources of a reporter have their last request remembered.
const maxSources = 128

// once remembers the last request of each source, so that a reporter can send a request again
// when it does not know whether it was counted, or when events were over its budget. Its zero value is ready to use.
type once struct {
	mu   sync.Mutex
	seed maphash.Seed
	last map[string]map[string]*lastRequest // by reporter and source
}

// lastRequest is the last request of a source. It is locked while it is counted.
type lastRequest struct {
	sync.Mutex
	counted bool
	key     uint64
	length  int
	body    uint64
	taken   Taken
}

// of returns the last request of a source.
func (o *once) of(reporter, source string) *lastRequest {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last == nil {
		o.last, o.seed = map[string]map[string]*lastRequest{}, maphash.MakeSeed()
	}
	sources := o.last[reporter]
	if sources == nil || sources[source] == nil && len(sources) >= maxSources {
		sources = map[string]*lastRequest{}
		o.last[reporter] = sources
	}
	if sources[source] == nil {
		sources[source] = &lastRequest{}
	}
	return sources[source]
}

// count counts a request by calling f, unless it is the last one of its source again. Then f is
// called with the lines that were over the budget, in order, and no other counts. key is the id of
// the request, or its body.
func (o *once) count(
	reporter, source string, key, body []byte, f func(lines []int) (Taken, error),
) (Taken, error) {
	if source == "" {
		return f(nil)
	}
	r := o.of(reporter, source)
	r.Lock()
	defer r.Unlock()
	sum, content := maphash.Bytes(o.seed, key), maphash.Bytes(o.seed, body)
	if !r.counted || r.key != sum || r.length != len(key) {
		taken, err := f(nil)
		if err == nil {
			r.counted, r.key, r.length, r.body, r.taken = true, sum, len(key), content, taken
		}
		return taken, err
	}
	lines, rest := r.taken.overBudget()
	if len(lines) == 0 {
		return r.taken, nil
	}
	if r.body != content {
		// The lines are other ones. They may have counted, and must not count twice.
		return rest, nil
	}
	more, err := f(lines)
	if err != nil {
		return Taken{}, err
	}
	r.taken = Taken{Accepted: rest.Accepted + more.Accepted, Refused: append(rest.Refused, more.Refused...)}
	slices.SortFunc(r.taken.Refused, func(x, y Refusal) int { return cmp.Compare(x.Line, y.Line) })
	return r.taken, nil
}

// overBudget returns the lines that were over the budget, and t without them.
func (t Taken) overBudget() (lines []int, rest Taken) {
	rest = Taken{Accepted: t.Accepted, Refused: []Refusal{}}
	for _, r := range t.Refused {
		if r.Code == CodeBudget {
			lines = append(lines, r.Line)
		} else {
			rest.Refused = append(rest.Refused, r)
		}
	}
	return lines, rest
}
