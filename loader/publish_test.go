package loader

import (
	"testing"

	"github.com/paraxial/paraxial/policy"
)

// A generation that another took the place of can be written to until it is
// closed, which is up to the caller.
func TestPublishIndexGivesBack(t *testing.T) {
	for _, family := range policy.Families() {
		t.Run(indexName(family), func(t *testing.T) {
			l := open(t, bpffs(t), 100)
			check(t, l.UnpublishIndex(family))
			first, second := newIndexMemory(t, l, family, 100), newIndexMemory(t, l, family, 3)
			firstID, secondID := generationID(t, first), generationID(t, second)
			before, err := l.PublishIndex(first)
			check(t, err)
			if before != nil {
				t.Errorf("there was %v before", before)
			}
			before, err = l.PublishIndex(second)
			check(t, err)
			expectPublished(t, l, family, secondID)
			if before != first {
				t.Fatalf("got %v of before, want %v", before, first)
			}
			first.Words()[799] = 1
			if !exists(t, firstID) {
				t.Error("the generation before has gone by itself")
			}
			check(t, before.Close())
			expectPublished(t, l, family, secondID, firstID)
			check(t, l.UnpublishIndex(family))
			expectPublished(t, l, family, 0, secondID)
		})
	}
}
