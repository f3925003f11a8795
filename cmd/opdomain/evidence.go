package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/offline"
	"github.com/opdomain/opdomain/sandbox/api"
)

// index reads the number of a log entry.
func index(s string) (uint64, error) {
	i, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, usageError{invalid("INDEX", "the number of an entry, from 0", "")}
	}
	return i, nil
}

func (a *app) evidenceCommand() *cobra.Command {
	public := func() (*session, error) {
		if a.as != "" { // TLCP shows the certificates of an identity even here
			return a.connect()
		}
		if err := checkServer(a.server); err != nil {
			return nil, err
		}
		return newSession(a.server, nil, a.now, a.rand)
	}
	key := verb("key", "Print the domain's signing key in hex, for opdomain-verify --key", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		s, err := public()
		if err != nil {
			return err
		}
		info, err := s.domain(c.Context())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, hex.EncodeToString(info.SignKey))
		return err
	})
	checkpoint := verb("checkpoint", "Print the log's last signed checkpoint: keep it, and ask later for a proof of growth (检查点)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		s, err := public()
		if err != nil {
			return err
		}
		b, err := body(s.api.GetCheckpoint(c.Context()))
		if err != nil {
			return err
		}
		return a.write("-", b)
	})
	var out string
	written := func(c *cobra.Command) *cobra.Command {
		c.Flags().StringVar(&out, "out", "-", "file to write, - for standard output")
		return c
	}
	export := written(verb("export", "Export the evidence your party may see as a bundle (存证导出)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		s, err := a.connect()
		if err != nil {
			return err
		}
		b, err := body(s.api.GetBundle(c.Context()))
		if err != nil {
			return err
		}
		return a.write(out, b)
	}))
	var event bool
	var since string
	prove := written(verb("prove [INDEX]", "Get a signed proof of one entry or, with --since, that the log has only grown (存证证明)", cobra.MaximumNArgs(1), func(c *cobra.Command, args []string) error {
		if (len(args) == 1) == (since != "") {
			return usageError{invalid("INDEX", "the number of an entry, or --since, not both", "")}
		}
		s, err := a.connect()
		if err != nil {
			return err
		}
		var b []byte
		if since != "" {
			kept, err := a.readFile(since)
			if err != nil {
				return err
			}
			b, err = body(s.api.ProveGrowth(c.Context(), api.GrowthRequest{Checkpoint: string(kept)}))
			if err != nil {
				return err
			}
			return a.write(out, b)
		}
		i, err := index(args[0])
		if err != nil {
			return err
		}
		if b, err = body(s.api.GetProof(c.Context(), i, &api.GetProofParams{Event: &event})); err != nil {
			return err
		}
		return a.write(out, b)
	}))
	prove.Flags().BoolVar(&event, "event", false, "with the event itself, if your party may see it")
	prove.Flags().StringVar(&since, "since", "", "file of a checkpoint you kept: proves that the log of then is a prefix of the log of now")
	verify := &cobra.Command{Use: "verify FILE", Short: "Check a bundle or a proof offline, as opdomain-verify does; --help says how (离线核验)", DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if status := offline.Main(args, a.out, a.err); status != 0 {
				return exitStatus(status)
			}
			return nil
		}}
	var dir string
	audit := verb("audit", "On the domain's machine: read the whole log, every record, tile, signature and rule, while it is served or not (存证自查)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		var r attest.AuditReport
		if err := a.command(c.Context(), dir, order{Verb: "audit"}, &r); err != nil {
			return err
		}
		return a.show(r, func(w io.Writer) {
			fmt.Fprint(w, r.Text())
			fmt.Fprintf(w, "erased 已删除载荷      %d, unreadable 密钥已销毁 %d\n", r.Erased, r.Unreadable)
			fmt.Fprintln(w, "the log is whole and every rule holds 自查通过")
		})
	})
	var reason string
	erase := verb("erase INDEX...", "On the domain's machine: erase the payloads of entries for good; their hashes and every proof stay (存证载荷删除)", cobra.MinimumNArgs(1), func(c *cobra.Command, args []string) error {
		o := order{Verb: "erase", Reason: reason}
		for _, s := range args {
			i, err := index(s)
			if err != nil {
				return err
			}
			o.Entries = append(o.Entries, i)
		}
		var done struct{}
		if err := a.command(c.Context(), dir, o, &done); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%d payloads are erased and the log says so; backups made before still have them\n", len(o.Entries))
		return nil
	})
	erase.Flags().StringVar(&reason, "reason", "", "the rule or order it is done under, in 1 to 256 bytes, nothing about a person")
	must(erase.MarkFlagRequired("reason"))
	for _, v := range []*cobra.Command{audit, erase} {
		v.Flags().StringVar(&dir, "dir", "", "folder of the domain")
		must(v.MarkFlagRequired("dir"))
	}
	return group("evidence", "Evidence log, bundles and proofs (存证)", key, checkpoint, export, prove, verify, audit, erase)
}

// exitStatus ends the program with the status of the verifier, which has said everything itself.
type exitStatus int

func (e exitStatus) Error() string { return "exit status " + strconv.Itoa(int(e)) }

func statusOf(err error) (int, bool) {
	var e exitStatus
	ok := errors.As(err, &e)
	return int(e), ok
}
