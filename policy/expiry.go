package policy

import "container/heap"

// expiry is a heap of the records with a finite deadline, soonest first.
type expiry struct {
	slab *slab
	refs []ref
}

func (q *expiry) Len() int { return len(q.refs) }

func (q *expiry) Less(i, j int) bool {
	return q.slab.at(q.refs[i]).deadline < q.slab.at(q.refs[j]).deadline
}

func (q *expiry) Swap(i, j int) {
	q.refs[i], q.refs[j] = q.refs[j], q.refs[i]
	q.slab.at(q.refs[i]).heap = uint32(i + 1)
	q.slab.at(q.refs[j]).heap = uint32(j + 1)
}

func (q *expiry) Push(x any) {
	q.refs = append(q.refs, x.(ref))
	q.slab.at(x.(ref)).heap = uint32(len(q.refs))
}

func (q *expiry) Pop() any {
	last := len(q.refs) - 1
	r := q.refs[last]
	q.refs = q.refs[:last]
	q.slab.at(r).heap = 0
	return r
}

func (q *expiry) add(r ref) {
	if q.slab.at(r).deadline != Forever {
		heap.Push(q, r)
	}
}

func (q *expiry) remove(r ref) {
	if at := q.slab.at(r).heap; at != 0 {
		heap.Remove(q, int(at-1))
	}
}

// Expired returns at most limit entries that are past their deadline at boot time
// now, roughly soonest first. They stay in the book until they are removed.
func (b *Book) Expired(now Deadline, limit int) []Entry {
	var due []Entry
	// In the heap, the children of a live record live at least as long. So only
	// expired records are walked.
	for queue := []int{0}; len(queue) > 0 && len(due) < limit; {
		i := queue[0]
		queue = queue[1:]
		if i >= len(b.expiry.refs) {
			continue
		}
		if e := b.slab.entry(b.expiry.refs[i]); !e.Live(now) {
			due = append(due, e)
			queue = append(queue, 2*i+1, 2*i+2)
		}
	}
	return due
}
