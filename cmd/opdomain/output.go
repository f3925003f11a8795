package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/opdomain/opdomain/sandbox"
)

// writable holds the one rule for files that a verb writes: nothing that is not a regular file is ever replaced, neither a device, a
// pipe, a folder nor a symbolic link, and a regular one only with --force.
func (a *app) writable(verb, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return unwritten(verb, path)
	case !info.Mode().IsRegular():
		return &sandbox.Error{Op: verb, Kind: sandbox.Denied, Object: path, Detail: "it is no regular file, and would be replaced by one", Hint: "name a new file"}
	case !a.force:
		return &sandbox.Error{Op: verb, Kind: sandbox.Conflict, Object: path, Detail: "it exists", Hint: "name a new file, or write over it with --force"}
	}
	return nil
}

func unwritten(verb, path string) error {
	return &sandbox.Error{Op: verb, Kind: sandbox.Unavailable, Object: path, Detail: "the file cannot be written", Hint: "name a file in a folder that you may write to"}
}

// writeFile writes a file beside path and puts it there when it is whole and durable, by the rule of writable; a failed one leaves
// nothing, and what was there as it was.
func (a *app) writeFile(verb, path string, write func(w io.Writer) error) (err error) {
	if err := a.writable(verb, path); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return unwritten(verb, path)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	b := bufio.NewWriterSize(f, 1<<20)
	if err := write(b); err != nil {
		return err
	}
	if err := errors.Join(b.Flush(), f.Sync(), f.Close()); err != nil {
		return unwritten(verb, path)
	}
	if err := a.writable(verb, path); err != nil { // it may have come meanwhile
		return err
	}
	if a.force {
		if err := os.Rename(f.Name(), path); err != nil {
			return unwritten(verb, path)
		}
		return nil
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike a rename it writes over nothing
		return unwritten(verb, path)
	}
	return os.Remove(f.Name())
}
