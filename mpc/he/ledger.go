package he

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Ledger (解密份额台账) remembers durably, for one party, which epochs it has begun and for which sum it has issued a share. Both are written
// before anything of them is sent. A run's epochs only go up, so a process that comes back after a crash cannot take up an epoch that it
// was in: its key part was in memory only and is gone, and the ledger refuses the number.
//
// A folder put back to an earlier state forgets entries; it does not bring a key part back, so it cannot make a second share either.
type Ledger struct {
	mu   sync.Mutex
	path string
	lock *os.File
	runs map[string]entry // by run
}

// entry is the last epoch of a run: begun, and the digest of the sum that shares were issued for.
type entry struct {
	epoch  uint64
	issued string
}

const ledgerName = "he-shares"

// maxLedger bounds the runs a ledger holds.
const maxLedger = 100_000

// OpenLedger takes the ledger in a folder, which it makes. Conflict when another process has it, Tampered for a file that is not one.
func OpenLedger(dir string) (*Ledger, error) {
	op := func(kind sandbox.Kind, rule string, err error) error {
		return &sandbox.Error{Op: "he: ledger", Kind: kind, Detail: rule, Err: err}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, op(sandbox.Unavailable, "its folder can be made", err)
	}
	lock, err := durable.Lock(dir)
	if err != nil {
		if errors.Is(err, durable.ErrLocked) {
			return nil, op(sandbox.Conflict, "one process has it", err)
		}
		return nil, op(sandbox.Unavailable, "its folder can be locked", err)
	}
	l := &Ledger{path: filepath.Join(dir, ledgerName), lock: lock, runs: map[string]entry{}}
	b, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		if !l.parse(string(b)) {
			err = op(sandbox.Tampered, "it is one epoch a line", nil)
		}
	} else {
		err = op(sandbox.Unavailable, "it can be read", err)
	}
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return l, nil
}

func (l *Ledger) parse(text string) bool {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(f) != 3 || !strings.HasSuffix(line, "\n") || len(f[0]) != 64 || len(f[2]) != 0 && len(f[2]) != 2*sm.Size {
			return false
		}
		epoch, err := strconv.ParseUint(f[1], 10, 64)
		if _, hexed := hex.DecodeString(f[0] + f[2]); err != nil || hexed != nil || epoch == 0 {
			return false
		}
		if _, twice := l.runs[f[0]]; twice {
			return false
		}
		l.runs[f[0]] = entry{epoch, f[2]}
	}
	return true
}

// Fresh gives the Conflict that a unit of an epoch would meet here which began before, or a later one of its run; nil where it may begin.
func (l *Ledger) Fresh(run [32]byte, epoch uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fresh(hex.EncodeToString(run[:]), epoch)
}

func (l *Ledger) fresh(run string, epoch uint64) error {
	if e := l.runs[run]; epoch <= e.epoch {
		return &sandbox.Error{Op: "he: ledger", Kind: sandbox.Conflict, Detail: "an epoch begins once, and after the last", Hint: "plan the next epoch with fresh ciphertexts"}
	}
	return nil
}

// begin writes that an epoch of a run has begun here. Conflict for one that is not after the last.
func (l *Ledger) begin(run [32]byte, epoch uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := hex.EncodeToString(run[:])
	if err := l.fresh(k, epoch); err != nil {
		return err
	}
	if len(l.runs) >= maxLedger {
		return &sandbox.Error{Op: "he: ledger", Kind: sandbox.TooLarge, Detail: "holds at most 100,000 runs"}
	}
	return l.put(k, entry{epoch: epoch})
}

// issue writes that shares of a sum are about to be sent. Conflict when any were in this epoch.
func (l *Ledger) issue(run [32]byte, epoch uint64, sum [sm.Size]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := hex.EncodeToString(run[:])
	if e := l.runs[k]; e.epoch != epoch || e.issued != "" {
		return &sandbox.Error{Op: "he: ledger", Kind: sandbox.Conflict, Detail: "shares are issued once in an epoch", Hint: "plan the next epoch with fresh ciphertexts"}
	}
	return l.put(k, entry{epoch, hex.EncodeToString(sum[:])})
}

// put makes an entry durable, then true.
func (l *Ledger) put(k string, e entry) error {
	if l.lock == nil {
		return &sandbox.Error{Op: "he: ledger", Kind: sandbox.Unavailable, Detail: "is open"}
	}
	old, had := l.runs[k]
	l.runs[k] = e
	var b strings.Builder
	for k, e := range l.runs {
		b.WriteString(k + " " + strconv.FormatUint(e.epoch, 10) + " " + e.issued + "\n")
	}
	if err := durable.Replace(l.path, []byte(b.String())); err != nil {
		if delete(l.runs, k); had {
			l.runs[k] = old
		}
		return &sandbox.Error{Op: "he: ledger", Kind: sandbox.Unavailable, Detail: "the entry is durable before anything is sent", Err: err}
	}
	return nil
}

// Close lets the folder go.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lock == nil {
		return nil
	}
	err := l.lock.Close()
	l.lock = nil
	return err
}
