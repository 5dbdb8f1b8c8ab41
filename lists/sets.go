package lists

import (
	"fmt"
	"slices"
	"strings"
)

// sets keeps the named sets of a file apart. A file may hold the sets of blocks and of
// exemptions together, so all entries must be of one set, or of those that the user
// selects with set=NAME.
type sets struct {
	out   *sink
	names []string
}

// wants reports whether entries of a set are wanted.
func (s *sets) wants(name string) bool {
	if len(s.out.where.conditions) > 0 {
		return s.out.where.wants([]field{{"set", name}})
	}
	if !slices.Contains(s.names, name) && len(s.names) < maxNames {
		s.names = append(s.names, strings.Clone(name))
	}
	return true
}

func (s *sets) check() error {
	if len(s.names) > 1 {
		return fmt.Errorf("there are several sets in it: choose one with --select set=NAME (%s)",
			strings.Join(s.names, ", "))
	}
	return nil
}
