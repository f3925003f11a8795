package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// TestPartnerSends: a message that meets a conflict is sent again while its run goes on, and not once it has ended.
func TestPartnerSends(t *testing.T) {
	for name, x := range map[string]struct {
		step  string // of the run, as the domain tells after the conflict
		kind  string
		sends int
	}{"a step is being taken": {"commitment", "conflict", 2}, "the run has ended": {"", "conflict", 1}, "refused": {"commitment", "denied", 1}} {
		sent := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				if sent++; sent == 1 {
					w.Header().Set("Content-Type", "application/problem+json")
					w.WriteHeader(http.StatusConflict)
					_, _ = w.Write([]byte(`{"kind":"` + x.kind + `","detail":"a message of it is being taken"}`))
					return
				}
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(api.Joint{Step: x.step, Kind: int(he.KeyShare)})
		}))
		c, err := newSession(s.URL, nil, time.Now, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		j, err := c.joined(context.Background(), api.Joint{Question: api.Question{ID: "q-1"}}, &he.Message{Kind: he.Commitment, Parts: [][]byte{make([]byte, 32)}})
		if sent != x.sends || (err == nil) != (x.sends == 2) || err == nil && j.Kind != int(he.KeyShare) || err != nil && j.Question.ID != "q-1" {
			t.Errorf("%s: sent %d times: %v", name, sent, err)
		}
		s.Close()
	}
}

// TestPartnerBounded: groups of runs that began with one commitment add up, to fewer than the model has features.
func TestPartnerBounded(t *testing.T) {
	mine, other := []byte{1}, []byte{2}
	all := []api.Joint{{Commitment: mine, Groups: 2, Run: 1}, {Commitment: mine, Groups: 60}, {Commitment: other, Groups: 30, Run: 2}, {Commitment: mine, Groups: 1, Run: 3}}
	if n := answered(all, mine); n != 3 {
		t.Errorf("%d groups were answered", n)
	}
	for _, x := range []struct {
		groups, features, before int
		follow, ok               bool
		hint                     string
	}{{3, 4, 0, false, true, ""}, {4, 4, 0, false, false, "answer at most 3"}, {1, 5, 3, false, true, ""}, {2, 5, 3, false, false, "answer at most 1"}, {1, 4, 3, false, false, "accept it"}, {1, 1, 0, false, false, "accept it"},
		{64, 2, 9, true, true, ""}} {
		err := (&partnerRun{groups: x.groups, mayFollow: x.follow}).bounded(x.features, x.before)
		var e *sandbox.Error
		if (err == nil) != x.ok || err != nil && (!errors.As(err, &e) || !strings.HasPrefix(e.Hint, x.hint)) {
			t.Errorf("%+v: %v", x, err)
		}
	}
}
