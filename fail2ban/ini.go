package fail2ban

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	maxFile     = 1 << 20 // bytes of one file
	maxFiles    = 256     // files that are read together, with those that they include
	defaultName = "DEFAULT"
)

// settings are the values of several files that were read one after another, by section and
// key. A later value replaces an earlier one. Keys are in lower case.
type settings struct {
	folder   fs.FS
	sections map[string]map[string]string
	known    map[string]map[string]string // the values that were replaced
	order    []string                     // the sections as they were first seen
	read     []string                     // the files, for the bound and against circles
}

// load reads a file, and before and after it the files that it includes. Beside each included
// file NAME.conf there may be a NAME.local. A file that does not exist is left out.
func (s *settings) load(name string) error {
	if slices.Contains(s.read, name) {
		return nil
	}
	if len(s.read) == maxFiles {
		return fmt.Errorf("read %s: more than %d files are included", name, maxFiles)
	}
	file, err := readFile(s.folder, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.read = append(s.read, name)
	includes := file.sections["INCLUDES"]
	if err := s.include(name, includes["before"]); err != nil {
		return err
	}
	s.merge(file)
	return s.include(name, includes["after"])
}

// include loads the files of a list, one in each line, relative to the file that names them.
func (s *settings) include(from, list string) error {
	for name := range strings.Lines(list) {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		joined := path.Join(path.Dir(from), name)
		if path.IsAbs(name) || !fs.ValidPath(joined) {
			return fmt.Errorf("read %s: it includes %s, which is outside of the folder", from, name)
		}
		name = joined
		if err := s.load(name); err != nil {
			return err
		}
		if local, ok := strings.CutSuffix(name, ".conf"); ok {
			if err := s.load(local + ".local"); err != nil {
				return err
			}
		}
	}
	return nil
}

// merge adds the values of a file.
func (s *settings) merge(file *ini) {
	if s.sections == nil {
		s.sections, s.known = map[string]map[string]string{}, map[string]map[string]string{}
	}
	for _, name := range file.order {
		if s.sections[name] == nil {
			s.sections[name], s.known[name] = map[string]string{}, map[string]string{}
			s.order = append(s.order, name)
		}
		for key, value := range file.sections[name] {
			if old, ok := s.sections[name][key]; ok {
				s.known[name][key] = old
			}
			s.sections[name][key] = value
		}
	}
}

// ini is one file in the dialect of Python's configparser.
type ini struct {
	sections map[string]map[string]string
	order    []string
}

func readFile(folder fs.FS, name string) (*ini, error) {
	f, err := folder.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read fail2ban's configuration: %w", err)
	}
	defer f.Close()
	file, err := parse(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return file, nil
}

// parser is the state between two lines of a file.
type parser struct {
	*ini
	section string
	key     string // of the value that a line with a deeper indent continues
	indent  int    // of the line with key
	size    int
}

func parse(r io.Reader) (*ini, error) {
	p := parser{ini: &ini{sections: map[string]map[string]string{}}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxFile)
	for n := 1; lines.Scan(); n++ {
		if p.size += len(lines.Bytes()) + 1; p.size > maxFile {
			return nil, fmt.Errorf("the file is larger than %d KiB", maxFile>>10)
		}
		if err := p.line(lines.Text()); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return p.ini, lines.Err()
}

func (p *parser) line(text string) error {
	trimmed := strings.TrimSpace(withoutComment(text))
	indent := len(text) - len(strings.TrimLeft(text, " \t"))
	switch {
	case trimmed == "":
		return nil
	case p.key != "" && indent > p.indent:
		p.sections[p.section][p.key] += "\n" + trimmed
		return nil
	case trimmed[0] == '[' && trimmed[len(trimmed)-1] == ']':
		p.begin(trimmed[1 : len(trimmed)-1])
		return nil
	}
	at := strings.IndexAny(trimmed, "=:")
	switch {
	case at <= 0:
		return fmt.Errorf("want [section] or key = value, got %q", shorten(trimmed))
	case p.section == "":
		return fmt.Errorf("%q stands before the first [section]", shorten(trimmed))
	}
	p.key, p.indent = strings.ToLower(strings.TrimSpace(trimmed[:at])), indent
	p.sections[p.section][p.key] = strings.TrimSpace(trimmed[at+1:])
	return nil
}

func (p *parser) begin(section string) {
	p.section, p.key = section, ""
	if p.sections[section] == nil {
		p.sections[section] = map[string]string{}
		p.order = append(p.order, section)
	}
}

// withoutComment removes a comment: a line that begins with # or ;, or the part behind a ;
// that follows white space.
func withoutComment(line string) string {
	trimmed := strings.TrimLeft(line, " \t")
	if strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
		return ""
	}
	for i := 1; i < len(line); i++ {
		if line[i] == ';' && (line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}

func shorten(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
