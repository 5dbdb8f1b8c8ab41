package match

import "testing"

// TestFormats builds every format.
func TestFormats(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range definitions() {
		for _, name := range append(d.aliases, d.name) {
			if seen[name] {
				t.Errorf("two formats are called %s", name)
			}
			seen[name] = true
			if f, err := New(name); err != nil || f.Name() != d.name {
				t.Errorf("%s: got %v, %v", name, f, err)
			}
		}
	}
}
