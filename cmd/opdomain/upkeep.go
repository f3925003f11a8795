package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/node"
)

// hintOf gives the hint of an error, if it has one.
func hintOf(err error) string {
	var e *sandbox.Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

func (a *app) backupCommand() *cobra.Command {
	var dir, to string
	c := verb("backup", "Copy a domain, running or not, into a new folder under TO; keys have a backup of their own (备份)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		abs, err := filepath.Abs(to)
		if err != nil {
			return err
		}
		var r node.BackupReport
		if err := a.command(c.Context(), dir, order{Verb: "backup", To: abs}, &r); err != nil {
			return err
		}
		return a.show(r, func(w io.Writer) {
			fmt.Fprintf(w, "backup of domain %s as of %s is in %s: %d files, %d MiB, of which %d MiB are new; %d entries of evidence\n",
				r.Domain, r.Taken.Format("2006-01-02T15:04:05.000Z07:00"), r.Path, r.Files, r.Bytes>>20, r.Copied>>20, r.Size)
			if _, err := os.Stat(filepath.Join(dir, "keys", deviceFile)); err == nil {
				fmt.Fprintf(w, "keys are not in it: copy %s, and back the device up by its own means\n", filepath.Join(dir, "keys"))
				return
			}
			fmt.Fprintf(w, "keys are not in it: opdomain keys share --dir %s\n", dir)
		})
	})
	c.Flags().StringVar(&dir, "dir", "", "folder of the domain")
	c.Flags().StringVar(&to, "to", "", "folder for backups, on another disk; what the newest one there has already is linked")
	must(c.MarkFlagRequired("dir"))
	must(c.MarkFlagRequired("to"))
	return c
}

func (a *app) restoreCommand() *cobra.Command {
	var from, dir, keyDir string
	c := verb("restore", "Bring a backup and a key folder together in a new domain folder (恢复)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if _, err := os.Stat(from); err != nil {
			return &sandbox.Error{Op: "restore", Kind: sandbox.NotFound, Object: from, Detail: "no backup is there", Hint: "name one folder that opdomain backup made"}
		}
		if _, err := os.Stat(keyDir); err != nil {
			return &sandbox.Error{Op: "restore", Kind: sandbox.NotFound, Object: keyDir, Detail: "no key folder is there", Hint: "opdomain keys recover brings one back"}
		}
		var r node.BackupReport
		if err := inNewFolder("restore", dir, func() (err error) {
			r, err = a.restore(c.Context(), from, keyDir, dir)
			return err
		}); err != nil {
			return err
		}
		return a.show(r, func(w io.Writer) {
			fmt.Fprintf(w, "restored domain %s as of %s into %s: %d files, every one as it was signed for\n", r.Domain, r.Taken.Format("2006-01-02T15:04:05.000Z07:00"), dir, r.Files)
			fmt.Fprintf(w, "next: opdomain serve --dir %s --check; it stays closed if its witnesses have seen more than %d entries, until each of their parties runs opdomain witness readmit --checkpoint %s\n", dir, r.Size, filepath.Join(dir, "log", "checkpoint"))
		})
	})
	c.Flags().StringVar(&from, "from", "", "folder of one backup")
	c.Flags().StringVar(&keyDir, "keys", "", "the domain's key folder, e.g. from opdomain keys recover")
	c.Flags().StringVar(&dir, "dir", "", "new folder of the domain")
	for _, f := range []string{"from", "keys", "dir"} {
		must(c.MarkFlagRequired(f))
	}
	return c
}

// restore brings backup and keys together in an empty folder.
func (a *app) restore(ctx context.Context, from, keyDir, dir string) (node.BackupReport, error) {
	p, err := a.passphraseFor(keyDir)
	if err != nil {
		return node.BackupReport{}, err
	}
	if err := copyFolder(keyDir, filepath.Join(dir, "keys")); err != nil {
		return node.BackupReport{}, err
	}
	k, err := a.openKeyFolder(filepath.Join(dir, "keys"), p)
	if err != nil {
		return node.BackupReport{}, err
	}
	key := k.SigningKey().Public()
	k.Close()
	return node.Restore(ctx, from, dir, key)
}

// copyFolder copies a key folder's files.
func copyFolder(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return &sandbox.Error{Op: "restore", Kind: sandbox.Unavailable, Object: to, Err: err}
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return &sandbox.Error{Op: "restore", Kind: sandbox.NotFound, Object: from, Detail: "no key folder"}
	}
	for _, e := range entries {
		if e.Type()&fs.ModeType != 0 {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), b, 0o600)
		}
		if err != nil {
			return &sandbox.Error{Op: "restore", Kind: sandbox.Unavailable, Object: e.Name(), Err: err}
		}
	}
	return nil
}
