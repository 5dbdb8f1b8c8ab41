// Package upstream reads from the files of other programs which servers this host depends on:
// DHCP servers, DNS resolvers behind a local one, time servers and VPN servers. It looks up no
// names, so it finds only servers that are named by their address. It also asks chronyd, whose
// configuration usually has names.
//
// The daemon that reads these files has capabilities. So a file must be a regular file of root or
// of the user of the program, and both its size and the number of its servers are limited.
package upstream

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

const (
	mostFiles = 256  // of one kind in a directory
	mostRead  = 2048 // of all kinds
)

// Server is a server that this host depends on.
type Server struct {
	Addr netip.Addr
	What string // "a DHCP server of this host (/var/lib/dhcp/dhclient.leases)"
}

// Reader reads the files. It reads a file or a directory again only if it has changed.
type Reader struct {
	root    string // before all paths; for tests
	kinds   []kind
	mu      sync.Mutex
	folders map[string]folder
	files   map[string]file

	resolvConf map[string]file
}

// NewReader returns a Reader.
func NewReader() *Reader {
	return &Reader{kinds: kinds(), folders: make(map[string]folder), files: make(map[string]file)}
}

// Result is what a Reader has found. Both lists are sorted and have no duplicates.
type Result struct {
	Servers []Server
	// Problems name the files that cannot be read, and those that have not the form that they
	// should have. Servers has none of theirs.
	Problems []string
}

// Read returns the servers that the files name now. more are files that other programs were told
// to read.
func (r *Reader) Read(more ...Reference) Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	pass := pass{reader: r, folders: make(map[string]folder), files: make(map[string]file)}
	for _, k := range r.kinds {
		for _, pattern := range k.patterns {
			pass.glob(pattern, k)
		}
	}
	for _, ref := range more {
		pass.read(ref.path, ref.kind)
	}
	r.folders, r.files = pass.folders, pass.files
	slices.SortFunc(pass.Servers, func(a, b Server) int {
		if c := a.Addr.Compare(b.Addr); c != 0 {
			return c
		}
		return strings.Compare(a.What, b.What)
	})
	slices.Sort(pass.Problems)
	return Result{slices.Compact(pass.Servers), slices.Compact(pass.Problems)}
}

// pass is one reading. It keeps what is still there of the reading before.
type pass struct {
	reader  *Reader
	folders map[string]folder
	files   map[string]file
	Result
}

// glob reads the files whose names match. Only the last element of the pattern has wildcards.
func (p *pass) glob(pattern string, k kind) {
	dir, base := filepath.Split(pattern)
	if !strings.ContainsAny(base, "*?[") {
		p.read(pattern, k)
		return
	}
	f, err := p.folder(filepath.Join(p.reader.root, dir))
	if err != nil {
		p.problem(k, dir, err)
		return
	}
	read := 0
	for _, name := range f.names {
		if ok, err := filepath.Match(base, name); err != nil || !ok {
			continue
		}
		if read++; read > mostFiles {
			p.problem(k, dir, fmt.Errorf("it has more than %d files", mostFiles))
			return
		}
		p.read(dir+name, k)
	}
}

// folder lists a directory. One that does not exist is empty.
func (p *pass) folder(path string) (folder, error) {
	known, ok := p.folders[path]
	if !ok {
		known = p.reader.folders[path].refreshed(path)
		p.folders[path] = known
	}
	return known, known.err
}

// read reads a file, and the files to which it refers.
func (p *pass) read(path string, k kind) {
	key := k.what + "\x00" + path
	if _, done := p.files[key]; done {
		return
	}
	if len(p.files) == mostRead {
		p.problem(k, path, fmt.Errorf("there are more than %d files", mostRead))
		return
	}
	f := p.reader.files[key].refreshed(filepath.Join(p.reader.root, path), k)
	p.files[key] = f
	if f.err != nil {
		p.problem(k, path, f.err)
	}
	for _, a := range f.found.addrs {
		p.Servers = append(p.Servers, Server{a, fmt.Sprintf("%s (%s)", k.what, path)})
	}
	for _, ref := range f.found.refs {
		p.read(ref.path, ref.kind)
	}
}

// problem notes that a file or directory cannot be used.
func (p *pass) problem(k kind, path string, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	p.Problems = append(p.Problems, problem(k.what, path, err))
}

// problem tells that the servers in a file or directory are not known.
func problem(what, path string, err error) string {
	// The path is in the text already.
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Sprintf("%s in %s is not known: %v", what, path, err)
}
