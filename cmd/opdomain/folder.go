package main

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/node"
)

// vacant says whether a folder is free for what a verb makes.
func vacant(verb, dir string) error {
	err := node.Vacant(dir)
	var e *sandbox.Error
	if errors.As(err, &e) {
		return &sandbox.Error{Op: verb, Kind: e.Kind, Object: e.Object, Detail: e.Detail, Hint: "name a new folder; nothing is made over what is there", Err: e.Err}
	}
	return err
}

// inNewFolder has a verb make a folder, and leaves nothing of it behind when that fails. The folder is this process's while it
// is made: of two that make the same one, neither removes what the other made.
func inNewFolder(verb, dir string, fill func() error) (err error) {
	fail := func(err error) error {
		return &sandbox.Error{Op: verb, Kind: sandbox.Unavailable, Object: dir, Detail: "the folder cannot be made", Err: err}
	}
	if err := vacant(verb, dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o700); err != nil {
		return fail(err)
	}
	err = os.Mkdir(dir, 0o700)
	own := err == nil
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fail(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fail(err)
	}
	defer d.Close()
	if unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return &sandbox.Error{Op: verb, Kind: sandbox.Conflict, Object: dir, Detail: "another process is making this folder"}
	}
	if err := vacant(verb, dir); err != nil { // it may have finished meanwhile
		return err
	}
	if err := fill(); err != nil {
		return errors.Join(err, empty(dir, own))
	}
	return nil
}

// empty removes what is in a folder, and the folder too when it is our own.
func empty(dir string, own bool) error {
	if own {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
