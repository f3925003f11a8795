package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/node"
)

func (a *app) keysCommand() *cobra.Command {
	var dir, unit, out string
	rotate := verb("rotate", "Give a unit, or the domain itself, a new key-encrypting key while jobs run (密钥轮换)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		var r keys.Rotation
		if err := a.command(c.Context(), dir, order{Verb: "rotate", Unit: sandbox.PartyID(unit)}, &r); err != nil {
			return err
		}
		return a.show(r, func(w io.Writer) {
			fmt.Fprintf(w, "%s is at generation %d: %d keys wrapped again\n", r.KEK, r.To, r.Rewrapped)
			for _, s := range r.Destroyed {
				fmt.Fprintf(w, "  the old one: %s (%s)\n", s.Proves, s.Driver)
			}
		})
	})
	rotate.Flags().StringVar(&unit, "unit", "", "source unit; default: the domain's root")
	var next string
	change := verb("passphrase", "Change the passphrase of a domain's key folder (更换口令)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		current, err := a.passphraseFor(dir)
		if err != nil {
			return err
		}
		fresh, err := readPassphrase(next)
		if err == nil {
			err = longEnough(next, fresh)
		}
		if err != nil {
			return err
		}
		var done struct{}
		if err := a.command(c.Context(), dir, order{Verb: "passphrase", Current: current, Next: fresh}, &done); err != nil {
			return err
		}
		fmt.Fprintln(a.out, "changed; copies of the folder made before still open with the old one")
		return nil
	})
	change.Flags().StringVar(&next, "next-file", "", "file with the new passphrase, of 12 bytes or more")
	must(change.MarkFlagRequired("next-file"))
	var shares, threshold int
	share := verb("share", "Back the key folder up: an archive, and shares of its key for as many people (密钥分片备份)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		var b node.SharedKeys
		if err := inNewFolder("keys share", out, func() error {
			if err := a.command(c.Context(), dir, order{Verb: "share", Shares: shares, Threshold: threshold}, &b); err != nil {
				return err
			}
			return writeShares(out, b)
		}); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "the archive and %d shares are in %s: hand each share to its holder and remove it there\n", len(b.Shares), out)
		fmt.Fprintln(a.out, "keys destroyed later come back with it: make a new one after an erasure and destroy the old one")
		return nil
	})
	share.Flags().IntVar(&shares, "shares", 5, "how many shares")
	share.Flags().IntVar(&threshold, "threshold", 3, "how many of them bring the keys back")
	share.Flags().StringVar(&out, "out", "", "new folder for archive and shares: hand each share to its holder and remove it there")
	must(share.MarkFlagRequired("out"))
	var archive string
	var pieces []string
	recover := verb("recover", "Bring a key folder back from its archive and enough shares (分片恢复)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return a.recoverKeys(out, archive, pieces)
	})
	recover.Flags().StringVar(&archive, "archive", "", "the archive")
	recover.Flags().StringArrayVar(&pieces, "share", nil, "a share's file; repeat")
	recover.Flags().StringVar(&out, "out", "", "new key folder, under the passphrase given by --passphrase-file or $OPDOMAIN_PASSPHRASE")
	for _, x := range []string{"archive", "share", "out"} {
		must(recover.MarkFlagRequired(x))
	}
	for _, v := range []*cobra.Command{rotate, change, share} {
		v.Flags().StringVar(&dir, "dir", "", "folder of the domain")
		must(v.MarkFlagRequired("dir"))
	}
	return group("keys", "The domain's keys (密钥)", rotate, change, share, recover)
}

func writeShares(out string, b node.SharedKeys) error {
	if err := durable.Replace(filepath.Join(out, "keys.archive"), b.Archive); err != nil {
		return &sandbox.Error{Op: "keys share", Kind: sandbox.Unavailable, Object: out, Err: err}
	}
	for i, s := range b.Shares {
		if err := durable.Replace(filepath.Join(out, fmt.Sprintf("share-%d", i+1)), s); err != nil {
			return &sandbox.Error{Op: "keys share", Kind: sandbox.Unavailable, Object: out, Err: err}
		}
	}
	return nil
}

func (a *app) recoverKeys(out, archive string, files []string) error {
	if err := vacant("keys recover", out); err != nil {
		return err
	}
	box, err := a.readFile(archive)
	if err != nil {
		return err
	}
	var shares []keys.Share
	for _, path := range files {
		text, err := a.readFile(path)
		if err != nil {
			return err
		}
		s, err := keys.ParseShare(text)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		shares = append(shares, s)
	}
	p, err := a.newPassphraseFor(out)
	if err != nil {
		return err
	}
	if err := inNewFolder("keys recover", out, func() error {
		k, err := keys.RestoreFromShares(keys.Restore{Dir: out, Passphrase: p, Rand: a.rand}, box, shares)
		if err == nil {
			k.Close()
		}
		return err
	}); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "the keys are in %s\n", out)
	return nil
}
