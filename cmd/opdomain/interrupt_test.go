package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestInterrupted: who stops a command that waits for an answer is told that it was stopped, not that the domain is down.
func TestInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stop()
		<-r.Context().Done()
	}))
	defer s.Close()
	var out, errOut bytes.Buffer
	code := run(ctx, []string{"--server", s.URL, "evidence", "key"}, strings.NewReader(""), &out, &errOut)
	if got := errOut.String(); code != exitFailed || out.Len() != 0 || !strings.Contains(got, "error: interrupted") || strings.Contains(got, "cancel") || strings.Contains(got, "reached") {
		t.Errorf("exit %d, %q, %q", code, out.String(), got)
	}
}
