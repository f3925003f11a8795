package attest

import (
	"context"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// AuditReport (存证自查报告) is what Audit found to hold: the whole log as the domain itself can read it.
type AuditReport struct {
	Report
	Erased     int `json:"erased"`     // entries whose payload was erased
	Unreadable int `json:"unreadable"` // entries whose every audience key was destroyed
}

// Audit (存证自查) reads the whole log as it is when called: first every record, leaf, tile and the root (tlog.Log.Audit), then
// every event that opens: its salted entry, its signature, and the rules of VerifyBundle over all of them; last the
// witnessed checkpoint and its co-signatures. The first fault is Tampered and names its file or entry. progress may be nil;
// total counts each entry twice. While it runs, nothing is erased.
func (r *Recorder) Audit(ctx context.Context, progress func(done, total uint64)) (AuditReport, error) {
	r.erasing.RLock()
	defer r.erasing.RUnlock()
	note, _, err := r.witnessed() // before the checkpoint, which is then not smaller
	if err != nil {
		return AuditReport{}, err
	}
	cp := r.log.Checkpoint()
	told := func(done uint64) {
		if progress != nil {
			progress(done, 2*cp.Size)
		}
	}
	if err := r.log.Audit(ctx, func(done, _ uint64) { told(min(done, cp.Size)) }); err != nil {
		return AuditReport{}, err
	}
	const op = "evidence: audit"
	domain, ok := strings.CutPrefix(cp.Origin, "opdomain/")
	if !ok {
		return AuditReport{}, &sandbox.Error{Op: op, Kind: sandbox.Tampered, Object: "checkpoint", Detail: "the log's origin names a domain"}
	}
	c := newChecker(op, bundleHeader{Format: BundleFormat, Domain: domain, Audience: "domain", Origin: cp.Origin, SignKey: r.key.Public().Bytes(), Checkpoint: cp.String(), Size: cp.Size}, r.key.Public())
	var out AuditReport
	for i := range cp.Size {
		if err := ctx.Err(); err != nil {
			return AuditReport{}, err
		}
		e, err := r.read(i)
		if err != nil {
			return AuditReport{}, err
		}
		if e.Erased {
			rec, err := r.log.Read(i)
			if err != nil {
				return AuditReport{}, err
			}
			if rec.Erased {
				out.Erased++
			} else {
				out.Unreadable++
			}
			c.erased[i] = [sm.Size]byte(e.Entry)
			c.hidden++
		} else if err := c.event(i, e.Text); err != nil {
			return AuditReport{}, err
		}
		if i%256 == 255 || i+1 == cp.Size {
			told(cp.Size + i + 1)
		}
	}
	if err := c.finish(); err != nil {
		return AuditReport{}, err
	}
	out.Report = c.report()
	if out.Witnessed, err = c.witnessed(note); err != nil {
		return AuditReport{}, err
	}
	return out, nil
}
