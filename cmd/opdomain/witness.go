package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/attest/witness"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/node"
)

// witnessFile describes a witness: public, beside its keys and what it has signed.
const witnessFile = "witness.json"

type witnessSetup struct {
	Name  string            `json:"name"`
	Party sandbox.PartyID   `json:"party"`
	Key   []byte            `json:"key"`
	Logs  map[string][]byte `json:"logs"` // origin to the log's signing key
}

func (a *app) witnessCommand() *cobra.Command {
	var dir, name, party, origin, key, listen string
	initial := verb("init", "Make a witness: its keys, and the log it signs for (设立见证方)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if err := sandbox.CheckID("witness", name); err != nil {
			return err
		}
		logKey, err := hex.DecodeString(key)
		if err == nil {
			_, err = sm.ParseVerifyKey(logKey)
		}
		if err != nil {
			return usageError{invalid("--log-key", "the domain's signing key in hex", "opdomain evidence key prints it")}
		}
		if err := vacant("witness init", dir); err != nil {
			return err
		}
		p, err := a.newPassphraseFor(dir)
		if err != nil {
			return err
		}
		var w witnessSetup
		if err := inNewFolder("witness init", dir, func() error {
			k, err := keys.Create(filepath.Join(dir, "keys"), p, newKeys, a.rand)
			if err != nil {
				return err
			}
			defer k.Close()
			w = witnessSetup{Name: name, Party: sandbox.PartyID(party), Key: k.SigningKey().Public().Bytes(), Logs: map[string][]byte{origin: logKey}}
			b, err := json.MarshalIndent(w, "", "  ")
			if err != nil {
				return err
			}
			if err := durable.Replace(filepath.Join(dir, witnessFile), append(b, '\n')); err != nil {
				return &sandbox.Error{Op: "witness", Kind: sandbox.Unavailable, Object: dir, Err: err}
			}
			return nil
		}); err != nil {
			return err
		}
		return a.show(w, func(out io.Writer) {
			fmt.Fprintf(out, "witness %s is in %s; key %s\n", name, dir, fingerprint(w.Key))
			fmt.Fprintf(out, "next: opdomain witness serve --dir %s, then on the domain's machine: opdomain witness enrol --dir DOMAIN --file %s --url http://HOST:8480\n", dir, filepath.Join(dir, witnessFile))
		})
	})
	f := initial.Flags()
	f.StringVar(&dir, "dir", "", "new folder of the witness")
	f.StringVar(&name, "name", "", "name of the witness, an identifier")
	f.StringVar(&party, "party", "", "party that runs it")
	f.StringVar(&origin, "log", "", "origin of the log: opdomain/ and the domain's name")
	f.StringVar(&key, "log-key", "", "the domain's signing key in hex")
	for _, x := range []string{"dir", "name", "log", "log-key"} {
		must(initial.MarkFlagRequired(x))
	}

	serve := verb("serve", "Sign growing checkpoints until interrupted (运行见证方)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return a.serveWitness(c.Context(), dir, listen)
	})
	serve.Flags().StringVar(&dir, "dir", "", "folder of the witness")
	serve.Flags().StringVar(&listen, "listen", "127.0.0.1:8480", "address to listen on; what is answered carries its own proof")
	must(serve.MarkFlagRequired("dir"))

	var files, urls []string
	var domain string
	var quorum int
	enrol := verb("enrol", "Have a domain's evidence witnessed; witnesses are added, never taken away (登记见证方)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if len(files) != len(urls) {
			return usageError{invalid("--url", "one address for each --file", "")}
		}
		var s node.Status
		if err := a.command(c.Context(), domain, order{Verb: "status"}, &s); err != nil {
			return err
		}
		w := node.Witnesses{Quorum: quorum, Witnesses: s.WitnessList}
		for i, path := range files {
			var x witnessSetup
			if err := a.readJSON(path, &x); err != nil {
				return err
			}
			w.Witnesses = append(w.Witnesses, node.Witness{Name: x.Name, Party: x.Party, URL: urls[i], Key: x.Key})
		}
		var done struct{}
		if err := a.command(c.Context(), domain, order{Verb: "witnesses", Witnesses: &w}, &done); err != nil {
			return err
		}
		return a.show(w, func(out io.Writer) {
			fmt.Fprintf(out, "%d witnesses, %d of them must have signed before anything leaves\n", len(w.Witnesses), w.Quorum)
		})
	})
	enrol.Flags().StringVar(&domain, "dir", "", "folder of the domain")
	enrol.Flags().StringArrayVar(&files, "file", nil, "witness.json of a witness; repeat for more")
	enrol.Flags().StringArrayVar(&urls, "url", nil, "its address; repeat in the same order")
	enrol.Flags().IntVar(&quorum, "quorum", 1, "how many must have signed")
	for _, x := range []string{"dir", "file", "url"} {
		must(enrol.MarkFlagRequired(x))
	}
	var path, reason string
	readmit := verb("readmit", "Let a log go on from an earlier checkpoint after its domain was restored: your party's decision, on record (重新见证)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		text, err := a.readFile(path)
		if err != nil {
			return err
		}
		n, err := tlog.ParseNote(string(text))
		if err != nil {
			return err
		}
		return a.openWitness(dir, func(w *witness.Witness, _ witnessSetup) error {
			r, err := w.Readmit(c.Context(), n.Checkpoint, reason)
			if err != nil {
				return err
			}
			return a.show(r, func(out io.Writer) {
				fmt.Fprintf(out, "%s goes on from entry %d; what this witness signed behind it is on record at /readmissions\n", n.Origin, n.Size)
			})
		})
	})
	readmit.Flags().StringVar(&dir, "dir", "", "folder of the witness, which is not being served")
	readmit.Flags().StringVar(&path, "checkpoint", "", "the restored domain's log/checkpoint")
	readmit.Flags().StringVar(&reason, "reason", "", "why your party agrees, in 1 to 200 characters")
	for _, x := range []string{"dir", "checkpoint", "reason"} {
		must(readmit.MarkFlagRequired(x))
	}
	return group("witness", "Witnesses of the evidence (存证见证)", initial, serve, enrol, readmit)
}

// openWitness opens a witness's folder, which no other process may have open.
func (a *app) openWitness(dir string, do func(*witness.Witness, witnessSetup) error) error {
	var setup witnessSetup
	if err := a.readJSON(filepath.Join(dir, witnessFile), &setup); err != nil {
		return err
	}
	lock, err := durable.Lock(dir)
	if errors.Is(err, durable.ErrLocked) {
		return &sandbox.Error{Op: "witness", Kind: sandbox.Conflict, Object: dir, Detail: "another process serves this witness"}
	}
	if err != nil {
		return &sandbox.Error{Op: "witness", Kind: sandbox.Unavailable, Object: dir, Err: err}
	}
	defer lock.Close()
	p, err := a.passphraseFor(dir)
	if err != nil {
		return err
	}
	k, err := keys.Open(filepath.Join(dir, "keys"), p, a.rand)
	if err != nil {
		return err
	}
	defer k.Close()
	logs := map[string]*sm.VerifyKey{}
	for origin, b := range setup.Logs {
		if logs[origin], err = sm.ParseVerifyKey(b); err != nil {
			return err
		}
	}
	w, err := witness.Open(witness.Config{Dir: dir, Name: setup.Name, Key: k.SigningKey(), Logs: logs, Now: a.now, Rand: a.rand})
	if err != nil {
		return err
	}
	return do(w, setup)
}

func (a *app) serveWitness(ctx context.Context, dir, listen string) error {
	return a.openWitness(dir, func(w *witness.Witness, setup witnessSetup) error {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			return &sandbox.Error{Op: "witness", Kind: sandbox.Unavailable, Object: listen, Detail: "the address cannot be listened on", Hint: "name another with --listen"}
		}
		s := &http.Server{Handler: w.Handler(), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10}
		fmt.Fprintf(a.out, "witness %s at http://%s; interrupt to stop\n", setup.Name, l.Addr())
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		select {
		case err := <-served:
			return &sandbox.Error{Op: "witness", Kind: sandbox.Unavailable, Object: listen, Err: err}
		case <-ctx.Done():
			return s.Shutdown(context.WithoutCancel(ctx))
		}
	})
}
