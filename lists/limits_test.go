package lists_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/lists"
)

// TestBounds: each bound ends the reading with an error that names it.
func TestBounds(t *testing.T) {
	member := packed(t, func(b *bytes.Buffer) (writeCloser, error) { return gzip.NewWriter(b), nil },
		strings.Repeat("#"+strings.Repeat("a", 1<<16-2)+"\n", 16))
	for _, tt := range []struct {
		name string
		text io.Reader
		says string
	}{
		{"text", bytes.NewReader(bytes.Repeat(member, 257)), "longer than 268435456 bytes"},
		{"line", strings.NewReader("192.0.2.1\n" + strings.Repeat("1", 16<<20+1)), "line 2 is longer than"},
		{"prefixes", strings.NewReader(strings.Repeat("::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe\n", 4<<20/254+1)),
			lists.ErrTooMany.Error()},
		{"JSON values", strings.NewReader("[" + strings.Repeat(`"",`, 2<<20) + "0]"), "values"},
		{"JSON", strings.NewReader("[\n" + strings.Repeat(strings.Repeat(" ", 1<<20)+"\n", 65) + "]"),
			"longer than 67108864"},
		{"columns", strings.NewReader("a,b\n" + strings.Repeat("x,", 1001) + "192.0.2.1\n192.0.2.1,\n"), ""},
		{"archive", bytes.NewReader(zipped(t, "192.0.2.1", "192.0.2.2")), "2 files"},
	} {
		l, err := lists.Read(tt.text, lists.Options{})
		if tt.says == "" {
			if err == nil && l.Bad == 0 {
				t.Errorf("%s: no error", tt.name)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.says)
		}
	}
}

// TestCountsOnce: a line with several mistakes counts once, however many there were before.
func TestCountsOnce(t *testing.T) {
	var text strings.Builder
	text.WriteString("[\n")
	for range 1500 {
		text.WriteString("\"x\", \"y\",\n")
	}
	text.WriteString("\"192.0.2.1\"]\n")
	l, err := lists.Read(strings.NewReader(text.String()), lists.Options{Format: "json"})
	if err != nil || l.Bad != 1500 || len(l.Invalid) != lists.MaxListed {
		t.Errorf("%d bad lines, %d kept, %v", l.Bad, len(l.Invalid), err)
	}
}

// TestCounts: all bad lines are counted, and the first ones are kept.
func TestCounts(t *testing.T) {
	l, err := lists.Read(strings.NewReader("192.0.2.1\n"+strings.Repeat("x\n", 5000)), lists.Options{})
	if err != nil || l.Bad != 5000 || len(l.Invalid) != lists.MaxListed || l.Lines != 5001 {
		t.Errorf("%d bad lines of %d, %d kept, %v", l.Bad, l.Lines, len(l.Invalid), err)
	}
}

// TestReadError: an error of the source is no end of the list.
func TestReadError(t *testing.T) {
	broken := errors.New("broken")
	for _, start := range []string{"", "192.0.2.1\n", strings.Repeat("192.0.2.1\n", 100_000)} {
		_, err := lists.Read(io.MultiReader(strings.NewReader(start), failing{broken}), lists.Options{})
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", len(start), err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
