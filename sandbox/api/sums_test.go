package api_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
)

func (d *desk) AskSum(_ context.Context, c Caller, _ SumRequest) (Sum, error) {
	return Sum{}, d.note("AskSum", c)
}

func (d *desk) Sums(_ context.Context, c Caller) ([]Sum, error) { return nil, d.note("Sums", c) }

func (d *desk) Sum(_ context.Context, c Caller, _ sandbox.QuestionID) (Sum, error) {
	return Sum{}, d.note("Sum", c)
}

func (d *desk) SumPlan(_ context.Context, c Caller, _ sandbox.QuestionID) (SumPlan, error) {
	return SumPlan{}, d.note("SumPlan", c)
}

func (d *desk) BeginSumEpoch(_ context.Context, c Caller, _ sandbox.QuestionID, _ SumOrder) (Sum, error) {
	return Sum{}, d.note("BeginSumEpoch", c)
}

func (d *desk) EndSum(_ context.Context, c Caller, _ sandbox.QuestionID) (Sum, error) {
	return Sum{}, d.note("EndSum", c)
}

func (d *desk) LeaveSum(_ context.Context, c Caller, _ sandbox.QuestionID, _ SumLeave) (Sum, error) {
	return Sum{}, d.note("LeaveSum", c)
}

// TakeSumMessage gives the message back as the plan's digest, if it is the one that was signed.
func (d *desk) TakeSumMessage(_ context.Context, c Caller, _ SumAddress, digest [sm.Size]byte, body io.Reader) (Sum, error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return Sum{}, err
	}
	if sm.Sum(b) != digest {
		return Sum{}, &sandbox.Error{Op: "sum", Kind: sandbox.Unsigned, Object: "message"}
	}
	return Sum{Plan: b}, d.note("TakeSumMessage", c)
}

func (d *desk) SumMessage(_ context.Context, c Caller, at SumAddress, w io.Writer) error {
	if at.Kind == 5 {
		return &sandbox.Error{Op: "sum", Kind: sandbox.NotFound, Object: "message"}
	}
	if _, err := io.WriteString(w, strings.Repeat("x", at.From+1)); err != nil {
		return err
	}
	return d.note("SumMessage", c)
}

// TestSumMessages: a message is handed on with the digest of its own bytes and comes back whole under its type; a failure before the first byte is
// a problem document.
func TestSumMessages(t *testing.T) {
	s := open(t)
	unit := id(sandbox.Unit, sandbox.Officer)
	const at, media = "/v1/sums/q-1/epochs/1/messages/", "application/vnd.opdomain.he-message"
	if status, body := s.do(s.sign(s.request("PUT", at+"1", media, "a message"), unit)); status != 200 || !strings.Contains(body, "YSBtZXNzYWdl") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := s.do(s.sign(s.request("PUT", at+"1", "application/json", "a message"), unit)); status != 400 {
		t.Errorf("another type: %d", status)
	}
	changed := s.sign(s.request("PUT", at+"1", media, "a message"), unit)
	changed.Body = io.NopCloser(strings.NewReader("b message"))
	if status, _ := s.do(changed); status != 401 {
		t.Errorf("another message than was signed: %d", status)
	}
	if status, body := s.do(s.sign(s.request("GET", at+"4/3", "", ""), unit)); status != 200 || body != "xxxx" {
		t.Errorf("%d %s", status, body)
	}
	if status, body := s.do(s.sign(s.request("GET", at+"5/0", "", ""), unit)); status != 404 {
		t.Errorf("%d %s", status, body)
	}
}
