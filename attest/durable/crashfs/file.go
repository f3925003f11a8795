package crashfs

import (
	"io"
	"os"
	"path"
	"slices"
	"syscall"
)

// file is an open file.
type file struct {
	fs       *FS
	node     *node
	name     string
	at       int64
	append   bool
	writable bool
	closed   bool
}

// usable says why the file cannot be used. Callers hold mu.
func (f *file) usable() error {
	switch {
	case f.fs.off:
		return ErrCrashed
	case f.closed:
		return os.ErrClosed
	}
	return nil
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable(); err != nil {
		return 0, fault("read", f.name, err)
	}
	if off >= int64(len(f.node.now)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, f.node.now[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	at := f.at
	if f.append {
		at = int64(len(f.node.now))
	}
	f.fs.mu.Unlock()
	n, err := f.WriteAt(p, at)
	f.at = at + int64(n)
	return n, err
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.usable()
	if err == nil && !f.writable {
		err = syscall.EBADF
	}
	if err != nil {
		return 0, fault("write", f.name, err)
	}
	whole, half, err := f.fs.operate(true)
	switch {
	case half:
		p = p[:len(p)/2]
	case !whole:
		p = nil
	}
	if len(p) > 0 {
		if need := int(off) + len(p); need > len(f.node.now) {
			f.node.now = append(f.node.now, make([]byte, need-len(f.node.now))...)
		}
		copy(f.node.now[off:], p)
	}
	return len(p), fault("write", f.name, err)
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += int64(len(f.node.now))
	}
	if offset < 0 {
		return 0, fault("seek", f.name, syscall.EINVAL)
	}
	f.at = offset
	return offset, fault("seek", f.name, f.usable())
}

func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.usable()
	if err == nil {
		var whole bool
		if whole, _, err = f.fs.operate(false); whole {
			f.node.synced = slices.Clone(f.node.now)
		}
	}
	return fault("sync", f.name, err)
}

func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.usable()
	if err == nil {
		var whole bool
		if whole, _, err = f.fs.operate(false); whole && size <= int64(len(f.node.now)) {
			f.node.now = slices.Clone(f.node.now[:size])
		} else if whole {
			f.node.now = append(slices.Clone(f.node.now), make([]byte, size-int64(len(f.node.now)))...)
		}
	}
	return fault("truncate", f.name, err)
}

func (f *file) Stat() (os.FileInfo, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return info{path.Base(f.name), f.node.dir, int64(len(f.node.now))}, fault("stat", f.name, f.usable())
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fault("close", f.name, os.ErrClosed)
	}
	f.closed = true
	return nil
}
