package api_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
)

func (d *desk) ExplainJoint(_ context.Context, c Caller, r attest.JointRun) (JointExplanation, error) {
	return JointExplanation{Text: string(r.Of)}, d.note("ExplainJoint", c)
}

func (d *desk) AskJoint(_ context.Context, c Caller, _ attest.Statement) (Joint, error) {
	return Joint{}, d.note("AskJoint", c)
}

func (d *desk) Joints(_ context.Context, c Caller) ([]Joint, error) { return nil, d.note("Joints", c) }

func (d *desk) Joint(_ context.Context, c Caller, _ sandbox.QuestionID) (Joint, error) {
	return Joint{}, d.note("Joint", c)
}

func (d *desk) EndJoint(_ context.Context, c Caller, _ sandbox.QuestionID) (Joint, error) {
	return Joint{}, d.note("EndJoint", c)
}

func (d *desk) TakeJointMessage(_ context.Context, c Caller, _ sandbox.QuestionID, kind int, digest [sm.Size]byte, body io.Reader) (Joint, error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return Joint{}, err
	}
	if sm.Sum(b) != digest {
		return Joint{}, &sandbox.Error{Op: "joint run", Kind: sandbox.Unsigned, Object: "message"}
	}
	return Joint{Plan: b, Kind: kind}, d.note("TakeJointMessage", c)
}

func (d *desk) JointMessage(_ context.Context, c Caller, _ sandbox.QuestionID, kind int, w io.Writer) error {
	if kind == 5 {
		return &sandbox.Error{Op: "joint run", Kind: sandbox.NotFound, Object: "message"}
	}
	if _, err := io.WriteString(w, strings.Repeat("x", kind)); err != nil {
		return err
	}
	return d.note("JointMessage", c)
}

// TestJointMessages: a message of a run is handed on with the digest of its own bytes, from parties that ask alone, and comes back whole.
func TestJointMessages(t *testing.T) {
	s := open(t)
	partner := id(sandbox.Partner, sandbox.Officer)
	const at, media = "/v1/joints/q-1/messages/", "application/vnd.opdomain.he-message"
	if status, body := s.do(s.sign(s.request("PUT", at+"5", media, "a message"), partner)); status != 200 || !strings.Contains(body, "YSBtZXNzYWdl") || !strings.Contains(body, `"kind":5`) {
		t.Errorf("%d %s", status, body)
	}
	changed := s.sign(s.request("PUT", at+"1", media, "a message"), partner)
	changed.Body = io.NopCloser(strings.NewReader("b message"))
	if status, _ := s.do(changed); status != 401 {
		t.Errorf("another message than was signed: %d", status)
	}
	if status, body := s.do(s.sign(s.request("GET", at+"4", "", ""), partner)); status != 200 || body != "xxxx" {
		t.Errorf("%d %s", status, body)
	}
	if status, body := s.do(s.sign(s.request("GET", at+"5", "", ""), partner)); status != 404 || !strings.Contains(body, `"not found"`) {
		t.Errorf("%d %s", status, body)
	}
	if status, body := s.do(s.sign(s.request("POST", "/v1/joints/explain", "application/json", `{"scenario":"s","purpose":"p","of":"q-7","features":[],"groups":1,"decimals":0,"commitment":"","at":"2026-03-01T00:00:00Z"}`), partner)); status != 200 || !strings.Contains(body, "q-7") {
		t.Errorf("%d %s", status, body)
	}
	for _, bad := range []struct{ method, path, media, body string }{{"GET", at + "x", "", ""}, {"PUT", at + "x", media, "m"}, {"GET", "/v1/joints/Q!/messages/4", "", ""}, {"POST", "/v1/joints/explain", "application/json", `{"weights":[1]}`}} {
		if status, _ := s.do(s.sign(s.request(bad.method, bad.path, bad.media, bad.body), partner)); status != http.StatusBadRequest && status != http.StatusUnprocessableEntity {
			t.Errorf("%s %s: %d", bad.method, bad.path, status)
		}
	}
	for _, who := range []sandbox.Role{sandbox.Agency, sandbox.Unit, sandbox.Insurer, sandbox.Auditor} {
		if status, _ := s.do(s.sign(s.request("GET", at+"4", "", ""), id(who, sandbox.Officer))); status != 403 {
			t.Errorf("%s fetches a message: %d", who, status)
		}
	}
}
