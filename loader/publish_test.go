package loader

import (
	"testing"

	"github.com/paraxial/paraxial/policy"
)

// A generation that was replaced can be written to until the caller closes it.
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
				t.Errorf("got the previous generation %v, want none", before)
			}
			before, err = l.PublishIndex(second)
			check(t, err)
			expectPublished(t, l, family, secondID)
			if before != first {
				t.Fatalf("got the previous generation %v, want %v", before, first)
			}
			first.Words()[799] = 1
			if !exists(t, firstID) {
				t.Error("the previous generation was closed before the caller closed it")
			}
			check(t, before.Close())
			expectPublished(t, l, family, secondID, firstID)
			check(t, l.UnpublishIndex(family))
			expectPublished(t, l, family, 0, secondID)
		})
	}
}
