package loader

import "testing"

// A generation that another took the place of can be written to until it is
// closed, which is up to the caller.
func TestPublishIndexGivesBack(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		t.Run(indexName(ipv6), func(t *testing.T) {
			l := open(t, bpffs(t), 100)
			check(t, l.UnpublishIndex(ipv6))
			first, second := newIndexMemory(t, l, ipv6, 100), newIndexMemory(t, l, ipv6, 3)
			firstID, secondID := generationID(t, first), generationID(t, second)
			before, err := l.PublishIndex(first)
			check(t, err)
			if before != nil {
				t.Errorf("there was %v before", before)
			}
			before, err = l.PublishIndex(second)
			check(t, err)
			expectPublished(t, l, ipv6, secondID)
			if before != first {
				t.Fatalf("got %v of before, want %v", before, first)
			}
			first.Words()[799] = 1
			if !exists(t, firstID) {
				t.Error("the generation before has gone by itself")
			}
			check(t, before.Close())
			expectPublished(t, l, ipv6, secondID, firstID)
			check(t, l.UnpublishIndex(ipv6))
			expectPublished(t, l, ipv6, 0, secondID)
		})
	}
}
