package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/doctor"
)

// doctor examines the machine and what the party keeps on it (参与方自检): status 1 where something does not hold. It changes nothing but a probe file
// that it removes; a ledger that a process has open it leaves alone.
func (a *Agent) doctor(_ context.Context, f *flags) error {
	if (f.ledger == "") != (f.ledgerKey == "") {
		return &sandbox.Error{Op: "party doctor", Kind: sandbox.Invalid, Object: "--ledger", Detail: "a ledger comes with its key", Err: errUsage}
	}
	all := a.examine(f)
	failed := 0
	for _, x := range all {
		if x.Level == doctor.Fail {
			failed++
		}
		fmt.Fprintf(a.Out, "%-5s %-18s %s\n", x.Level, x.Check, x.Detail)
		if x.Hint != "" && x.Level != doctor.OK {
			fmt.Fprintf(a.Out, "      %-18s hint: %s\n", "", x.Hint)
		}
	}
	if failed > 0 {
		return &sandbox.Error{Op: "party doctor", Kind: sandbox.Unavailable, Object: f.keys, Detail: fmt.Sprintf("%d of %d checks failed", failed, len(all)), Hint: "each failed line says what to do"}
	}
	return nil
}

func (a *Agent) examine(f *flags) []doctor.Finding {
	m := doctor.Machine{Now: a.Now}
	ledger, newest := a.examineLedger(f)
	out := []doctor.Finding{m.Clock(newest)}
	if os.Geteuid() == 0 {
		out = append(out, doctor.Finding{Check: "user", Level: doctor.Warn, Detail: "root: what a peer sends is read with every right", Hint: "run the party as a user of its own, as the units of deploy/systemd do"})
	}
	for _, dir := range []string{f.keys, f.joined, f.ledger} {
		if dir == "" {
			continue
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			if dir == f.keys {
				out = append(out, doctor.Finding{Check: "permissions", Level: doctor.Fail, Detail: dir + ": the folder is not there, or this user may not see it", Hint: "opdomain-party key, as the user that runs the party"})
			}
			continue // the other two are made when they are first needed
		}
		for _, x := range m.Permissions(dir) {
			x.Detail = dir + ": " + x.Detail
			out = append(out, x)
		}
	}
	if f.ledger != "" {
		if info, err := os.Stat(f.ledger); err == nil && info.IsDir() {
			out = append(out, m.Disk(f.ledger, 0)...)
		}
	}
	out = append(out, m.Swap(), m.CoreDumps(doctor.Guarded()))
	out = append(out, m.Processor(os.Getenv(doctor.ConstantTime))...)
	out = append(out, a.examineKeys(f))
	if f.joined != "" {
		out = append(out, examineJoined(f.joined))
	}
	return append(out, ledger...)
}

// failing is the finding of an error.
func failing(check string, err error) doctor.Finding {
	x := doctor.Finding{Check: check, Level: doctor.Fail, Detail: err.Error()}
	if e := (*sandbox.Error)(nil); errors.As(err, &e) {
		x.Hint = e.Hint
	}
	return x
}

func (a *Agent) examineKeys(f *flags) doctor.Finding {
	v, err := a.open(f)
	if err != nil {
		return failing("keys", err)
	}
	defer v.Close()
	return doctor.Finding{Check: "keys", Level: doctor.OK, Detail: "open under the passphrase; signing key " + v.SigningKey().Public().Fingerprint()}
}

func examineJoined(dir string) doctor.Finding {
	names, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return doctor.Finding{Check: "jobs joined", Level: doctor.Warn, Detail: dir + " is not there: the party has joined none, or another folder has what it joined", Hint: "name the folder that runs name by --joined"}
	}
	if err != nil {
		return failing("jobs joined", &sandbox.Error{Op: "party doctor", Kind: sandbox.Unavailable, Object: dir, Detail: "the folder cannot be read"})
	}
	return doctor.Finding{Check: "jobs joined", Level: doctor.OK, Detail: fmt.Sprintf("%d, each of which is not joined again", len(names))}
}

// examineLedger opens a ledger as a run does, and gives the time of its newest entry.
func (a *Agent) examineLedger(f *flags) ([]doctor.Finding, time.Time) {
	if f.ledger == "" {
		return nil, time.Time{}
	}
	if info, err := os.Stat(f.ledger); err != nil || !info.IsDir() { // which opening would make
		return []doctor.Finding{{Check: "ledger", Level: doctor.Warn, Detail: f.ledger + " is not there: nothing was let pass yet, or another folder has what was", Hint: "name the folder that runs name by --ledger"}}, time.Time{}
	}
	l, unlock, err := openLedger(f.ledger, f.ledgerKey, psi.Limits{Similarity: 1})
	if err != nil {
		if errors.Is(err, sandbox.Conflict) {
			return []doctor.Finding{{Check: "ledger", Level: doctor.Skip, Detail: "a process that runs has it: whether it is whole is told when that ends"}}, time.Time{}
		}
		return []doctor.Finding{failing("ledger", err)}, time.Time{}
	}
	defer unlock()
	n, newest, keyed := l.Extent()
	x := doctor.Finding{Check: "ledger", Level: doctor.OK, Detail: "without an entry"}
	if n > 0 {
		d := l.Head()
		x.Detail = fmt.Sprintf("whole: %d entries, the newest of %s, head %x", n, newest.Format(time.RFC3339), d[:8])
		if !keyed {
			x.Level, x.Detail = doctor.Warn, x.Detail+"; it is older than the check of its key"
			x.Hint = "its key is checked from its next entry on: see that this is the one that its runs name"
		}
	}
	return []doctor.Finding{x}, newest
}
