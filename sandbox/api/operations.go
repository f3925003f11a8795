package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox"
)

// operations carries each generated route to the Service. Callers are proven and permitted before any of these run.
type operations struct{ *core }

var _ ServerInterface = operations{}

// list runs a reading call that gives many; none is an empty list.
func list[T any](o operations, w http.ResponseWriter, r *http.Request, f func(context.Context, Caller) ([]T, error)) {
	v, err := f(r.Context(), callOn(r).caller)
	if v == nil {
		v = []T{}
	}
	o.write(w, r, http.StatusOK, v, err)
}

// find runs a reading call about one object.
func find[I ~string, T any](o operations, w http.ResponseWriter, r *http.Request, what string, id I, f func(context.Context, Caller, I) (T, error)) {
	if err := sandbox.CheckID(what, string(id)); err != nil {
		o.fail(w, r, err)
		return
	}
	v, err := f(r.Context(), callOn(r).caller, id)
	o.write(w, r, http.StatusOK, v, err)
}

// submit runs a call with a body.
func submit[B, T any](o operations, w http.ResponseWriter, r *http.Request, status int, f func(context.Context, Caller, B) (T, error)) {
	var b B
	if err := decode(callOn(r).body, &b); err != nil {
		o.fail(w, r, err)
		return
	}
	v, err := f(r.Context(), callOn(r).caller, b)
	o.write(w, r, status, v, err)
}

// amend runs a call with a body about one object.
func amend[I ~string, B, T any](o operations, w http.ResponseWriter, r *http.Request, what string, id I, f func(context.Context, Caller, I, B) (T, error)) {
	if err := sandbox.CheckID(what, string(id)); err != nil {
		o.fail(w, r, err)
		return
	}
	submit(o, w, r, http.StatusOK, func(ctx context.Context, c Caller, b B) (T, error) { return f(ctx, c, id, b) })
}

// nothing is what a call without a result gives.
type nothing struct{}

func noResult[B any](f func(context.Context, Caller, B) error) func(context.Context, Caller, B) (nothing, error) {
	return func(ctx context.Context, c Caller, b B) (nothing, error) { return nothing{}, f(ctx, c, b) }
}

func (o operations) GetDomain(w http.ResponseWriter, r *http.Request) {
	v, err := o.config.Service.Domain(r.Context())
	o.write(w, r, http.StatusOK, v, err)
}

func (o operations) GetCheckpoint(w http.ResponseWriter, r *http.Request) {
	text, err := o.config.Service.Checkpoint(r.Context())
	if err != nil {
		o.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text) // kept in memory: cannot fail
}

func (o operations) GetProof(w http.ResponseWriter, r *http.Request, index uint64, p GetProofParams) {
	out, err := o.config.Service.Proof(r.Context(), callOn(r).caller, index, p.Event != nil && *p.Event)
	o.file(w, r, out, err)
}

// GetBundle streams. A failure after the first byte cuts the stream, so that a cut bundle never looks whole; its last
// line, the domain's signature, is missing as well.
func (o operations) GetBundle(w http.ResponseWriter, r *http.Request) {
	out := &counted{w: w}
	err := o.config.Service.Bundle(r.Context(), callOn(r).caller, out)
	switch {
	case err != nil && out.n == 0:
		o.fail(w, r, err)
	case err != nil:
		callOn(r).failed = err
		panic(http.ErrAbortHandler)
	case out.n == 0:
		w.Header().Set("Content-Type", typeBundle)
	}
}

// counted writes through and remembers that it did.
type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// RevokeIdentity shuts an identity out. Who may, beyond the role table, is the Registrar's to say.
func (o operations) RevokeIdentity(w http.ResponseWriter, r *http.Request, id IdentityID) {
	amendNothing(o, w, r, id, func(ctx context.Context, c Caller, reg Registrar, b RevocationRequest) error {
		if n := utf8.RuneCountInString(b.Reason); n == 0 || n > 200 {
			return malformed("reason", "1 to 200 characters")
		}
		return reg.RevokeIdentity(ctx, c, id, b.Reason)
	})
}

// RenewIdentity replaces the keys of the identity that signed. The new signing key proves itself by a signature of its own.
func (o operations) RenewIdentity(w http.ResponseWriter, r *http.Request, id IdentityID) {
	amendNothing(o, w, r, id, func(ctx context.Context, c Caller, reg Registrar, b KeyRenewal) error {
		if id != c.Identity.ID {
			return &sandbox.Error{Op: "renew", Kind: sandbox.NotFound, Object: "identity", Detail: "an identity renews its own keys"}
		}
		if err := b.Verify(id); err != nil {
			return err
		}
		if bytes.Equal(b.SignKey, c.Identity.SignKey) {
			return malformed("sign_key", "the new key is another one than the old")
		}
		return reg.RenewIdentity(ctx, c, id, b)
	})
}

func amendNothing[B any](o operations, w http.ResponseWriter, r *http.Request, id IdentityID, f func(context.Context, Caller, Registrar, B) error) {
	if err := sandbox.CheckID("identity", string(id)); err != nil {
		o.fail(w, r, err)
		return
	}
	submit(o, w, r, http.StatusNoContent, noResult(func(ctx context.Context, c Caller, b B) error {
		if o.registrar == nil {
			return &sandbox.Error{Op: "identity", Kind: sandbox.Unavailable, Object: "registrar", Detail: "this domain does not change identities"}
		}
		return f(ctx, c, o.registrar, b)
	}))
}

// file writes bytes that are signed as they stand.
func (o operations) file(w http.ResponseWriter, r *http.Request, b []byte, err error) {
	if err != nil {
		o.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", typeProof)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(b)
}

func (o operations) ProveGrowth(w http.ResponseWriter, r *http.Request) {
	var b GrowthRequest
	if err := decode(callOn(r).body, &b); err != nil {
		o.fail(w, r, err)
		return
	}
	out, err := o.config.Service.Growth(r.Context(), callOn(r).caller, b)
	o.file(w, r, out, err)
}

func (o operations) ListOverdue(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, o.config.Service.Overdue)
}

func (o operations) ListQuarantine(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, o.config.Service.Quarantine)
}

// EraseVersion wants the reason, which goes into the evidence.
func (o operations) EraseVersion(w http.ResponseWriter, r *http.Request, id DatasetID, version uint64) {
	amend(o, w, r, "dataset", id, func(ctx context.Context, c Caller, id DatasetID, b ErasureRequest) (ErasureReport, error) {
		if n := utf8.RuneCountInString(b.Reason); n == 0 || n > 200 {
			return ErasureReport{}, malformed("reason", "1 to 200 characters")
		}
		return o.config.Service.EraseVersion(ctx, c, id, version, b)
	})
}

func (o operations) GetAuthority(w http.ResponseWriter, r *http.Request) {
	v, err := o.config.Service.Authority(r.Context())
	o.write(w, r, http.StatusOK, v, err)
}

func (o operations) IssueCertificates(w http.ResponseWriter, r *http.Request, id IdentityID) {
	if err := sandbox.CheckID("identity", string(id)); err != nil {
		o.fail(w, r, err)
		return
	}
	submit(o, w, r, http.StatusCreated, func(ctx context.Context, c Caller, b CertificateRequests) (CertificatePair, error) {
		if id != c.Identity.ID {
			return CertificatePair{}, &sandbox.Error{Op: "certificates", Kind: sandbox.NotFound, Object: "identity", Detail: "an identity asks for its own certificates"}
		}
		return o.config.Service.IssueCertificates(ctx, c, b)
	})
}

func (o operations) EnrolParty(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusNoContent, noResult(o.config.Service.EnrolParty))
}

func (o operations) EnrolSubject(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusNoContent, noResult(o.config.Service.EnrolSubject))
}

func (o operations) RegisterDataset(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, o.config.Service.RegisterDataset)
}

func (o operations) ListDatasets(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, o.config.Service.Datasets)
}

func (o operations) GetDataset(w http.ResponseWriter, r *http.Request, id DatasetID) {
	find(o, w, r, "dataset", id, o.config.Service.Dataset)
}

func (o operations) OpenPush(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, o.config.Service.OpenPush)
}

func (o operations) ListPushes(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, o.config.Service.Pushes)
}

func (o operations) AbandonPush(w http.ResponseWriter, r *http.Request, run RunID) {
	find(o, w, r, "run", run, o.config.Service.AbandonPush)
}

func (o operations) GetPush(w http.ResponseWriter, r *http.Request, run RunID) {
	find(o, w, r, "run", run, o.config.Service.Push)
}

// PutFrames hands the sealed frames on as they arrive. The caller signed the digest of the opening; a caller that may not
// see the push does not find it.
func (o operations) PutFrames(w http.ResponseWriter, r *http.Request, run RunID) {
	find(o, w, r, "run", run, func(ctx context.Context, c Caller, run RunID) (PushReport, error) {
		p, err := o.config.Service.Push(ctx, c, run)
		if err != nil {
			return PushReport{}, err
		}
		if claimed := callOn(r).digest; string(claimed[:]) != string(p.OpeningDigest) {
			return PushReport{}, &sandbox.Error{Op: "push", Kind: sandbox.Unsigned, Object: string(run),
				Detail: "the request's digest is not that of this push's opening", Hint: "sign the frames with the opening they belong to"}
		}
		return o.config.Service.ReceivePush(ctx, c, run, callOn(r).frames)
	})
}

func (o operations) FileScenario(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, o.config.Service.FileScenario)
}

func (o operations) ListScenarios(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, o.config.Service.Scenarios)
}

func (o operations) GetScenario(w http.ResponseWriter, r *http.Request, id ScenarioID) {
	find(o, w, r, "scenario", id, o.config.Service.Scenario)
}

func (o operations) DecideScenario(w http.ResponseWriter, r *http.Request, id ScenarioID) {
	amend(o, w, r, "scenario", id, o.config.Service.DecideScenario)
}

func (o operations) SignAgreement(w http.ResponseWriter, r *http.Request, id ScenarioID) {
	amend(o, w, r, "scenario", id, o.config.Service.SignAgreement)
}

func (o operations) GiveConsent(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, o.config.Service.GiveConsent)
}

func (o operations) GetConsent(w http.ResponseWriter, r *http.Request, id ConsentID) {
	find(o, w, r, "consent", id, o.config.Service.Consent)
}

func (o operations) RevokeConsent(w http.ResponseWriter, r *http.Request, id ConsentID) {
	amend(o, w, r, "consent", id, o.config.Service.RevokeConsent)
}

func (o operations) ExplainQuestion(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusOK, o.config.Service.Explain)
}

func (o operations) AskQuestion(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, slotted(o, o.config.Service.Ask))
}

func (o operations) ListQuestions(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, o.config.Service.Questions)
}

func (o operations) GetQuestion(w http.ResponseWriter, r *http.Request, id QuestionID) {
	find(o, w, r, "question", id, o.config.Service.Question)
}

func (o operations) AskClaim(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusOK, slotted(o, uniform(o.config.Service.AskClaim)))
}

// uniform writes every refusal of a claim query as the one code, also where the Service failed to. Only what does not
// depend on data stays an error: a malformed request, a role, a domain that is out of order. 依据: 个人信息保护法 第二十三条.
func uniform(f func(context.Context, Caller, ClaimRequest) (ClaimAnswer, error)) func(context.Context, Caller, ClaimRequest) (ClaimAnswer, error) {
	return func(ctx context.Context, c Caller, b ClaimRequest) (ClaimAnswer, error) {
		a, err := f(ctx, c, b)
		switch {
		case err == nil && a.Code == "":
			return a, nil
		case err == nil:
			return ClaimAnswer{Question: a.Question, Code: sandbox.CodeConsent}, nil
		}
		switch sandbox.KindOf(err) {
		case sandbox.Invalid, sandbox.Denied, sandbox.Unavailable, sandbox.Internal:
			return ClaimAnswer{}, err
		}
		return ClaimAnswer{Code: sandbox.CodeConsent}, nil
	}
}

// slotted holds a call's result, or its error, back to the next of Config.Slot, twice it, four times it … since the call began.
func slotted[B, T any](o operations, f func(context.Context, Caller, B) (T, error)) func(context.Context, Caller, B) (T, error) {
	return func(ctx context.Context, c Caller, b B) (T, error) {
		began := o.config.Now()
		v, err := f(ctx, c, b)
		spent := max(o.config.Now().Sub(began), 0)
		slot := o.config.Slot
		for slot <= spent {
			slot *= 2
		}
		wait := slot - spent
		if e := o.config.Sleep(ctx, wait); e != nil && err == nil {
			err = &sandbox.Error{Op: "request", Kind: sandbox.Unavailable, Detail: "the request ended before its slot did"}
		}
		return v, err
	}
}

func (o operations) ListReviews(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, o.config.Service.Reviews)
}

func (o operations) GetReview(w http.ResponseWriter, r *http.Request, id QuestionID) {
	find(o, w, r, "question", id, o.config.Service.Review)
}

func (o operations) Vote(w http.ResponseWriter, r *http.Request, id QuestionID) {
	amend(o, w, r, "question", id, o.config.Service.Vote)
}

func (o operations) ListReleases(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, o.config.Service.Releases)
}

func (o operations) GetRelease(w http.ResponseWriter, r *http.Request, id ReleaseID) {
	find(o, w, r, "release", id, o.config.Service.Release)
}

func (o operations) ListUsage(w http.ResponseWriter, r *http.Request, p ListUsageParams) {
	if err := checkMonth(p.Month); err != nil {
		o.fail(w, r, err)
		return
	}
	list(o, w, r, func(ctx context.Context, c Caller) ([]UsageEvent, error) {
		return o.config.Service.Usage(ctx, c, p.Month)
	})
}

func (o operations) IssueInvoice(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, func(ctx context.Context, c Caller, b InvoiceRequest) (Invoice, error) {
		if err := errors.Join(sandbox.CheckID("party", string(b.Party)), checkMonth(b.Month)); err != nil {
			return Invoice{}, err
		}
		return o.config.Service.IssueInvoice(ctx, c, b)
	})
}

func (o operations) ListInvoices(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, o.config.Service.Invoices)
}

func (o operations) GetInvoice(w http.ResponseWriter, r *http.Request, id InvoiceID) {
	find(o, w, r, "invoice", id, o.config.Service.Invoice)
}

// checkMonth wants "2006-01".
func checkMonth(s string) error {
	ok := len(s) == 7 && s[4] == '-'
	if ok {
		_, e1 := strconv.ParseUint(s[:4], 10, 16)
		m, e2 := strconv.ParseUint(s[5:], 10, 8)
		ok = e1 == nil && e2 == nil && m >= 1 && m <= 12
	}
	if !ok {
		return &sandbox.Error{Op: "request: decode", Kind: sandbox.Invalid, Object: "month", Detail: "a month is written 2006-01"}
	}
	return nil
}
