package durable

import (
	"io"
	"os"
)

// FS (文件系统) is what a package that survives crashes needs of a file system. Names, flags, errors and promises are those of
// package os. What is durable: the bytes of a file after its Sync, the names in a folder after SyncDir of it.
type FS interface {
	OpenFile(name string, flag int, perm os.FileMode) (File, error)
	Mkdir(name string, perm os.FileMode) error
	MkdirAll(name string, perm os.FileMode) error
	Remove(name string) error
	RemoveAll(name string) error
	Rename(from, to string) error
	ReadDir(name string) ([]os.DirEntry, error)
	Stat(name string) (os.FileInfo, error)
	SyncDir(name string) error
}

// File (文件) is an open file of an FS.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Seeker
	io.Closer
	Sync() error
	Truncate(size int64) error
	Stat() (os.FileInfo, error)
}

// OS gives the machine's file system.
func OS() FS { return disk{} }

// ReadFile reads a file whole.
func ReadFile(fs FS, name string) ([]byte, error) {
	f, err := fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return b, err
}

type disk struct{}

func (disk) OpenFile(name string, flag int, perm os.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // not a File holding a nil pointer
	}
	return f, nil
}
func (disk) Mkdir(name string, perm os.FileMode) error    { return os.Mkdir(name, perm) }
func (disk) MkdirAll(name string, perm os.FileMode) error { return os.MkdirAll(name, perm) }
func (disk) Remove(name string) error                     { return os.Remove(name) }
func (disk) RemoveAll(name string) error                  { return os.RemoveAll(name) }
func (disk) Rename(from, to string) error                 { return os.Rename(from, to) }
func (disk) ReadDir(name string) ([]os.DirEntry, error)   { return os.ReadDir(name) }
func (disk) Stat(name string) (os.FileInfo, error)        { return os.Stat(name) }

func (disk) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
