package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/doctor"
	"github.com/opdomain/opdomain/sandbox/node"
	"github.com/opdomain/opdomain/sandbox/seam"
)

// spareDisk is what a domain's disk should have free at least: a push is staged beside the version it replaces.
const spareDisk = 2 << 30

// doctorCommand examines the machine and the domain; it fails when a promise does not hold.
func (a *app) doctorCommand() *cobra.Command {
	var dir string
	var g gvisorFlags
	c := verb("doctor", "Examine the machine and the domain: clock, disk, permissions, swap, core dumps, isolation, keys, witnesses (自检)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		all := a.examine(c.Context(), dir, g)
		failed := 0
		for _, f := range all {
			if f.Level == doctor.Fail {
				failed++
			}
		}
		if err := a.show(all, func(w io.Writer) {
			for _, f := range all {
				fmt.Fprintf(w, "%-5s %-18s %s\n", f.Level, f.Check, f.Detail)
				if f.Hint != "" && f.Level != doctor.OK {
					fmt.Fprintf(w, "      %-18s hint: %s\n", "", f.Hint)
				}
			}
		}); err != nil {
			return err
		}
		if failed > 0 {
			return &sandbox.Error{Op: "doctor", Kind: sandbox.Unavailable, Object: dir, Detail: fmt.Sprintf("%d of %d checks failed", failed, len(all)), Hint: "each failed line says what to do"}
		}
		return nil
	})
	c.Flags().StringVar(&dir, "dir", "", "folder of the domain")
	g.flags(c)
	must(c.MarkFlagRequired("dir"))
	return c
}

// examine runs every check. What needs the domain is asked of the process that serves it or, when none does, by opening it.
func (a *app) examine(ctx context.Context, dir string, g gvisorFlags) []doctor.Finding {
	m := doctor.Machine{Now: a.now}
	s, served, err := a.examineDomain(ctx, dir)
	out := []doctor.Finding{m.Clock(s.Newest)}
	out = append(out, m.Disk(dir, spareDisk)...)
	out = append(out, m.Permissions(dir)...)
	for _, path := range beside(dir) {
		if _, err := os.Lstat(path); err == nil {
			out = append(out, m.Passphrase(path))
		}
	}
	out = append(out, m.Swap(), m.CoreDumps(served && s.Guarded))
	out = append(out, m.Processor(setting(served, s))...)
	if served {
		out = append(out, isolationFindings(s.Isolation, g)...)
	} else {
		out = append(out, isolationFindings(nil, g)...)
	}
	if err != nil {
		return append(out, doctor.Finding{Check: "domain", Level: doctor.Fail, Detail: err.Error(), Hint: hintOf(err)})
	}
	return append(out, domainFindings(s, served)...)
}

func setting(served bool, s node.Status) string {
	if served && s.ConstantTime {
		return "1"
	}
	return os.Getenv(doctor.ConstantTime)
}

func (a *app) examineDomain(ctx context.Context, dir string) (s node.Status, served bool, err error) {
	if c, derr := seam.Dial(ctx, filepath.Join(dir, controlSocket), folderOwner(dir)); derr == nil {
		served = true
		_ = c.Close()
	}
	err = a.command(ctx, dir, order{Verb: "status"}, &s)
	return s, served, err
}

// domainFindings judges what the domain says of itself.
func domainFindings(s node.Status, served bool) []doctor.Finding {
	ok := func(check, detail string) doctor.Finding {
		return doctor.Finding{Check: check, Level: doctor.OK, Detail: detail}
	}
	where := "opened for this"
	if served {
		where = "being served"
	}
	out := []doctor.Finding{ok("domain", fmt.Sprintf("%s is intact and %s; %d entries of evidence", s.Domain, where, s.Size))}
	keys := ok("key driver", s.Keys)
	if s.KeyFault != "" {
		keys = doctor.Finding{Check: "key driver", Level: doctor.Fail, Detail: s.KeyFault, Hint: "the device must answer before data can be opened"}
	} else if s.KeysInFiles {
		keys = doctor.Finding{Check: "key driver", Level: doctor.Warn, Detail: s.Keys + ": keys in files under a passphrase; erasing them proves a procedure only", Hint: "keep the root in a device: opdomain init --pkcs11"}
	}
	out = append(out, keys)
	switch {
	case len(s.Witnesses) == 0:
		out = append(out, doctor.Finding{Check: "witnesses", Level: doctor.Warn, Detail: "none: a folder put back whole to an earlier state would not be noticed", Hint: "opdomain witness init, then opdomain witness enrol"})
	case s.Waiting:
		out = append(out, doctor.Finding{Check: "witnesses", Level: doctor.Fail, Detail: fmt.Sprintf("%d of %d do not answer: whether this is the newest state is not known, and no request is taken", len(s.Unreachable), len(s.Witnesses)), Hint: "start them, or look at the network between; one that has moved is given with serve --witness URL=FILE or witness enrol"})
	case len(s.Unreachable) > len(s.Witnesses)-s.Quorum:
		out = append(out, doctor.Finding{Check: "witnesses", Level: doctor.Fail, Detail: fmt.Sprintf("%d of %d do not answer, %d are needed: nothing leaves", len(s.Unreachable), len(s.Witnesses), s.Quorum), Hint: "start them, or look at the network between"})
	case len(s.Unreachable) > 0:
		out = append(out, doctor.Finding{Check: "witnesses", Level: doctor.Warn, Detail: fmt.Sprintf("%d of %d do not answer", len(s.Unreachable), len(s.Witnesses))})
	default:
		out = append(out, ok("witnesses", fmt.Sprintf("all %d answer; %d of %d entries are witnessed", len(s.Witnesses), s.Witnessed, s.Size)))
	}
	if s.CalendarShort {
		out = append(out, doctor.Finding{Check: "calendar", Level: doctor.Warn, Detail: "due dates filed now reach beyond the working-day calendar", Hint: "put the next year's notice into calendar.json"})
	} else {
		out = append(out, ok("calendar", "reaches beyond every due date that can be filed now"))
	}
	if s.Overdue > 0 {
		out = append(out, doctor.Finding{Check: "freshness", Level: doctor.Warn, Detail: fmt.Sprintf("%d datasets are behind their update frequency", s.Overdue), Hint: "opdomain catalog stale names them"})
	} else {
		out = append(out, ok("freshness", "every dataset is within its update frequency"))
	}
	return out
}
