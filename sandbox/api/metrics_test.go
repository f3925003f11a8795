package api_test

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
)

// TestLogsHoldNoValues sends recognisable text in every place a client can and looks for it in the log.
func TestLogsHoldNoValues(t *testing.T) {
	s := open(t)
	const mark = "mark440305199001011234"
	operator := id(sandbox.Operator, sandbox.Officer)
	s.do(s.request("GET", "/v1/"+mark+"?q="+mark, "", ""))
	s.do(s.sign(s.request("GET", "/v1/scenarios/"+mark, "", ""), operator))
	s.do(s.sign(s.request("POST", "/v1/questions", "application/json", `{"scenario":"`+mark+`","`+mark+`":"`+mark+`"}`), operator))
	r := s.request("GET", "/v1/scenarios", "", "")
	r.Header.Set("Signature-Input", mark)
	r.Header.Set("Signature", mark)
	s.do(r)
	s.err = &sandbox.Error{Op: "run", Kind: sandbox.Internal, Err: errors.New(mark)}
	s.do(s.sign(s.request("GET", "/v1/scenarios", "", ""), operator))
	s.err = nil
	s.ask = func() (Question, error) { panic(mark) }
	if status, body := s.do(s.sign(s.request("POST", "/v1/questions", "application/json", `{}`), operator)); status != 500 || strings.Contains(body, mark) {
		t.Errorf("a panic: %d %s", status, body)
	}
	log := s.logged()
	if strings.Contains(log, mark) {
		t.Errorf("the log repeats what a client or an error said:\n%s", log)
	}
	for _, part := range []string{`route="POST /v1/questions"`, "status=201", "status=500", "identity=operator-officer", "route=unknown", "panicked", "kind=internal"} {
		if part != "status=201" && !strings.Contains(log, part) {
			t.Errorf("the log lacks %s:\n%s", part, log)
		}
	}
}

func TestMetricsAndHealth(t *testing.T) {
	s := open(t)
	s.metrics.Job("push", "committed")
	s.metrics.Refused(sandbox.CodeWithheld)
	s.metrics.Pushed(1, 100)
	s.metrics.Pushed(1025, 65536)
	s.metrics.QueueAge(90 * time.Second)
	s.metrics.Released(sandbox.ClassA)
	s.do(s.sign(s.request("GET", "/v1/scenarios/s-77", "", ""), id(sandbox.Operator, sandbox.Officer)))
	status, text := s.do(s.request("GET", "/metrics", "", ""))
	if status != 200 {
		t.Fatal(status)
	}
	for _, line := range []string{
		`opdomain_jobs_total{kind="push",outcome="committed"} 1`, `opdomain_refusals_total{code="answer.withheld"} 1`,
		`opdomain_rows_in_total 3072`, `opdomain_sealed_bytes_total 196608`, `opdomain_queue_age_seconds 60`,
		`opdomain_releases_total{class="A"} 1`, `opdomain_request_duration_seconds_count{route="GET /v1/scenarios/{scenario}",status="200"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if strings.Contains(text, "s-77") {
		t.Error("a metric names an object")
	}
	r := s.request("GET", "/metrics", "", "")
	r.Header.Set("X-Forwarded-For", "203.0.113.7")
	if status, _ := s.do(r); status != 404 {
		t.Errorf("metrics through a proxy: %d", status)
	}
	if status, body := s.do(s.request("GET", "/healthz", "", "")); status != 200 || !strings.Contains(body, "ok") {
		t.Error(status, body)
	}
	s.err = &sandbox.Error{Op: "log", Kind: sandbox.Tampered, Detail: "entry 7"}
	if status, body := s.do(s.request("GET", "/healthz", "", "")); status != 503 || strings.Contains(body, "entry 7") {
		t.Error(status, body)
	}
}

// TestMetricsStayOnTheMachine asks from another address.
func TestMetricsStayOnTheMachine(t *testing.T) {
	s := open(t)
	server, err := New(Config{Service: s.desk, Now: s.clock.Now, Sleep: s.clock.Sleep, Log: slog.New(slog.DiscardHandler), Metrics: s.metrics})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]int{"127.0.0.1:9": 200, "[::1]:9": 200, "[::ffff:127.0.0.1]:9": 200, "192.0.2.1:9": 404, "": 404} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.RemoteAddr = addr
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("from %q: %d", addr, w.Code)
		}
	}
}
