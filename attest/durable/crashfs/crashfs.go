// Package crashfs is a file system in memory that fails, tears and crashes on purpose (故障注入文件系统), for tests of packages that
// promise to survive it. It keeps, beside what every file and folder holds now, what a sync made durable; Reboot gives the
// machine after a power cut: with all that was written, with only what was synced, or with a random mixture.
//
// Every call that changes something is an operation, numbered from 1. A Fault strikes one of them. Names are slash paths;
// permissions, links and times are not modelled. Errors are *os.PathError as package os would give them. For tests only.
package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/opdomain/opdomain/attest/durable"
)

// Mode (故障类型) is what a Fault does.
type Mode int

const (
	Fail  Mode = iota + 1 // the operation has no effect and gives EIO; later ones work
	Tear                  // a write writes its first half and gives EIO; any other operation fails
	Crash                 // as Tear, and every later operation gives ErrCrashed until Reboot
	Full                  // this and every later operation that needs space gives ENOSPC
	Last                  // the operation takes effect and everything after it gives ErrCrashed until Reboot
)

// Fault (故障) strikes operation At.
type Fault struct {
	At   int
	Mode Mode
}

// Survive (断电后状态) is what a power cut leaves.
type Survive int

const (
	All    Survive = iota // everything written, synced or not
	Synced                // only what was synced
	Mixed                 // each file and name the one or the other, by the randomness given to Reboot
)

// ErrCrashed is the answer to every operation behind a crash.
var ErrCrashed = errors.New("crashfs: the machine is off")

// FS (故障文件系统) is the file system. Safe for concurrent use.
type FS struct {
	mu    sync.Mutex
	root  *node
	ops   int
	fault Fault
	off   bool
	full  bool
}

var _ durable.FS = (*FS)(nil)

type node struct {
	dir         bool
	now, synced []byte
	names       map[string]*node // of a folder, now
	kept        map[string]*node // of a folder, as synced
}

func folder() *node { return &node{dir: true, names: map[string]*node{}, kept: map[string]*node{}} }

// New gives an empty file system.
func New() *FS { return &FS{root: folder()} }

// Arm sets the next fault and counts operations from 1 again.
func (f *FS) Arm(x Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.ops, f.full = x, 0, false
}

// Operations says how many operations there were since Arm.
func (f *FS) Operations() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// Reboot gives the file system after a power cut, without faults. f is not to be used again. rand is read for Mixed only.
func (f *FS) Reboot(s Survive, rand io.Reader) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
	return &FS{root: after(f.root, s, rand)}
}

// Copy gives the file system as a power cut now would leave it with only what was synced; f goes on.
func (f *FS) Copy() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &FS{root: after(f.root, Synced, nil)}
}

func after(n *node, s Survive, rand io.Reader) *node {
	keep := func() bool {
		var b [1]byte
		if s == Mixed {
			_, _ = io.ReadFull(rand, b[:])
		}
		return s == All || b[0]&1 == 1
	}
	if !n.dir {
		b := n.synced
		if keep() {
			b = n.now
		}
		return &node{now: slices.Clone(b), synced: slices.Clone(b)}
	}
	// A name that was moved is where it was or where it is, never both or neither: one coin for the two names.
	moved := map[string]string{}
	for to, c := range n.names {
		for from, old := range n.kept {
			if c == old && from != to && n.names[from] != old {
				moved[to] = from
			}
		}
	}
	coin := map[string]bool{}
	out := folder()
	for _, name := range slices.Sorted(maps.Keys(union(n.names, n.kept))) {
		one := name
		if from, ok := moved[name]; ok {
			one = from
		}
		if _, tossed := coin[one]; !tossed {
			coin[one] = keep()
		}
		c := n.kept[name]
		if coin[one] {
			c = n.names[name]
		}
		if c != nil {
			x := after(c, s, rand)
			out.names[name], out.kept[name] = x, x
		}
	}
	return out
}

func union(a, b map[string]*node) map[string]bool {
	out := map[string]bool{}
	for k := range a {
		out[k] = true
	}
	for k := range b {
		out[k] = true
	}
	return out
}

// Files gives every file and its bytes, for comparing whole states.
func (f *FS) Files() map[string][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string][]byte{}
	var walk func(string, *node)
	walk = func(at string, n *node) {
		if !n.dir {
			out[at] = slices.Clone(n.now)
			return
		}
		for name, c := range n.names {
			walk(path.Join(at, name), c)
		}
	}
	walk("/", f.root)
	return out
}

// Put makes a file durable with the given bytes, whatever faults are armed: for tests that change what is on the disk.
func (f *FS) Put(name string, b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, base := path.Split(path.Clean("/" + name))
	d := f.root
	for _, part := range parts(dir) {
		c := d.names[part]
		if c == nil {
			c = folder()
			d.names[part], d.kept[part] = c, c
		}
		d = c
	}
	n := &node{now: slices.Clone(b), synced: slices.Clone(b)}
	d.names[base], d.kept[base] = n, n
}

// operate counts an operation and says whether its effect takes place, in half, and which error it gives. Callers hold mu.
func (f *FS) operate(space bool) (whole, half bool, err error) {
	if f.off {
		return false, false, ErrCrashed
	}
	f.ops++
	if f.full && space {
		return false, false, syscall.ENOSPC
	}
	if f.ops != f.fault.At {
		return true, false, nil
	}
	switch f.fault.Mode {
	case Fail:
		return false, false, syscall.EIO
	case Tear:
		return false, true, syscall.EIO
	case Crash:
		f.off = true
		return false, true, ErrCrashed
	case Last:
		f.off = true
		return true, false, nil
	case Full:
		f.full = true
		if space {
			return false, true, syscall.ENOSPC
		}
	}
	return true, false, nil
}

func parts(name string) []string {
	var out []string
	for name = path.Clean("/" + name); name != "/"; {
		dir, base := path.Split(name)
		out = append(out, base)
		name = path.Clean(dir)
	}
	slices.Reverse(out)
	return out
}

// find gives the node, its folder and its name in it. Callers hold mu.
func (f *FS) find(name string) (n, dir *node, base string, err error) {
	n = f.root
	for _, base = range parts(name) {
		if n == nil {
			return nil, nil, "", syscall.ENOENT
		}
		if !n.dir {
			return nil, nil, "", syscall.ENOTDIR
		}
		dir, n = n, n.names[base]
	}
	return n, dir, base, nil
}

func fault(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

// OpenFile opens or makes a file; a folder opens for reading.
func (f *FS) OpenFile(name string, flag int, _ os.FileMode) (durable.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return nil, fault("open", name, ErrCrashed)
	}
	n, dir, base, err := f.find(name)
	switch {
	case err != nil:
	case n == nil && (flag&os.O_CREATE == 0 || dir == nil):
		err = syscall.ENOENT
	case n != nil && flag&os.O_EXCL != 0:
		err = syscall.EEXIST
	case n != nil && n.dir && flag&(os.O_WRONLY|os.O_RDWR) != 0:
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, fault("open", name, err)
	}
	if n == nil || flag&os.O_TRUNC != 0 {
		whole, _, err := f.operate(true)
		if whole && n == nil {
			n = &node{}
			dir.names[base] = n
		} else if whole {
			n.now = nil
		}
		if err != nil {
			return nil, fault("open", name, err)
		}
	}
	return &file{fs: f, node: n, name: name, append: flag&os.O_APPEND != 0, writable: flag&(os.O_WRONLY|os.O_RDWR) != 0}, nil
}

// Mkdir makes a folder.
func (f *FS) Mkdir(name string, _ os.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fault("mkdir", name, f.mkdir(name))
}

func (f *FS) mkdir(name string) error {
	n, dir, base, err := f.find(name)
	if err != nil {
		return err
	}
	if n != nil {
		return syscall.EEXIST
	}
	whole, _, err := f.operate(true)
	if whole {
		dir.names[base] = folder()
	}
	return err
}

// MkdirAll makes a folder and those above it.
func (f *FS) MkdirAll(name string, _ os.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := "/"
	for _, p := range parts(name) {
		at = path.Join(at, p)
		if n, _, _, err := f.find(at); err == nil && n != nil && n.dir {
			continue
		}
		if err := f.mkdir(at); err != nil {
			return fault("mkdir", name, err)
		}
	}
	return nil
}

// Remove removes a file or an empty folder.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, dir, base, err := f.find(name)
	switch {
	case err != nil:
	case n == nil || dir == nil:
		err = syscall.ENOENT
	case n.dir && len(n.names) > 0:
		err = syscall.ENOTEMPTY
	default:
		var whole bool
		if whole, _, err = f.operate(false); whole {
			delete(dir.names, base)
		}
	}
	return fault("remove", name, err)
}

// RemoveAll removes a tree, one operation for each name, children first.
func (f *FS) RemoveAll(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, dir, base, err := f.find(name)
	if err != nil || n == nil || dir == nil {
		if f.off {
			return fault("remove", name, ErrCrashed)
		}
		return nil
	}
	return fault("remove", name, f.removeAll(dir, base))
}

func (f *FS) removeAll(dir *node, base string) error {
	n := dir.names[base]
	for _, c := range slices.Sorted(maps.Keys(n.names)) {
		if err := f.removeAll(n, c); err != nil {
			return err
		}
	}
	whole, _, err := f.operate(false)
	if whole {
		delete(dir.names, base)
	}
	return err
}

// Rename moves a name, over an existing file.
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, dir, base, err := f.find(from)
	if err == nil && n == nil {
		err = syscall.ENOENT
	}
	if err != nil {
		return fault("rename", from, err)
	}
	old, into, name, err := f.find(to)
	switch {
	case err != nil:
	case into == nil:
		err = syscall.ENOENT
	case old != nil && old.dir && len(old.names) > 0:
		err = syscall.ENOTEMPTY
	default:
		var whole bool
		if whole, _, err = f.operate(false); whole {
			delete(dir.names, base)
			into.names[name] = n
		}
	}
	return fault("rename", to, err)
}

// ReadDir lists a folder by name.
func (f *FS) ReadDir(name string) ([]os.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.present(name)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, fault("readdir", name, err)
	}
	var out []os.DirEntry
	for _, k := range slices.Sorted(maps.Keys(n.names)) {
		out = append(out, fs.FileInfoToDirEntry(info{k, n.names[k].dir, int64(len(n.names[k].now))}))
	}
	return out, nil
}

// Stat describes a file or folder.
func (f *FS) Stat(name string) (os.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.present(name)
	if err != nil {
		return nil, fault("stat", name, err)
	}
	return info{path.Base(name), n.dir, int64(len(n.now))}, nil
}

func (f *FS) present(name string) (*node, error) {
	if f.off {
		return nil, ErrCrashed
	}
	n, _, _, err := f.find(name)
	if err == nil && n == nil {
		err = syscall.ENOENT
	}
	return n, err
}

// SyncDir makes the names of a folder durable.
func (f *FS) SyncDir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.present(name)
	if err == nil {
		var whole bool
		if whole, _, err = f.operate(false); whole {
			n.kept = maps.Clone(n.names)
		}
	}
	return fault("sync", name, err)
}

type info struct {
	name string
	dir  bool
	size int64
}

func (i info) Name() string     { return i.name }
func (i info) Size() int64      { return i.size }
func (i info) IsDir() bool      { return i.dir }
func (i info) Sys() any         { return nil }
func (info) ModTime() time.Time { return time.Time{} }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
