package report

import (
	"hash/maphash"
	"sync"
)

// maxSources is how many sources of a reporter have their last request remembered.
const maxSources = 128

// once remembers the last request of each source, so that a reporter can send a request again
// when it does not know whether it was counted. Its zero value is ready to use.
type once struct {
	mu   sync.Mutex
	seed maphash.Seed
	last map[string]map[string]*lastRequest // by reporter and source
}

// lastRequest is the last request of a source. It is locked while it is counted.
type lastRequest struct {
	sync.Mutex
	counted bool
	sum     uint64
	length  int
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

// count counts a request by calling f, unless it is the last one of its source again. key is the
// id of the request, or its body.
func (o *once) count(reporter, source string, key []byte, f func() (Taken, error)) (Taken, error) {
	if source == "" {
		return f()
	}
	r := o.of(reporter, source)
	r.Lock()
	defer r.Unlock()
	sum := maphash.Bytes(o.seed, key)
	if r.counted && r.sum == sum && r.length == len(key) {
		return r.taken, nil
	}
	taken, err := f()
	if err == nil {
		r.counted, r.sum, r.length, r.taken = true, sum, len(key), taken
	}
	return taken, err
}
