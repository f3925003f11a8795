package main

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/console"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// chromium finds a browser, or skips aloud.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("OPDOMAIN_CHROMIUM"), "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"} {
		if name == "" {
			continue
		}
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	sandboxtest.Missing(t, "no Chromium (apt-get install chromium-headless-shell); the review page was not opened in a browser")
	return ""
}

// deskOf serves the desk of an identity.
func (w *world) deskOf(id sandbox.IdentityID) (*console.Desk, string) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	s := w.as(id)
	d, err := console.NewDesk(desk{s}, s.id.Identity, l.Addr(), w.rand)
	w.must(err)
	srv := &http.Server{Handler: d, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	w.t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return d, l.Addr().String()
}

// TestReviewPageInABrowser decides a result from the page, as the agency's reviewer would: reads it, forgets to confirm, confirms.
func TestReviewPageInABrowser(t *testing.T) {
	exe := chromium(t)
	w := ready(t)
	ctx := context.Background()
	if _, err := w.answer(ctx, "coarse", question(w.story.Coarse)); err != nil { // something to compare with
		t.Fatal(err)
	}
	id := w.another(1)
	if _, err := w.as("unit-medical-reviewer").vote(ctx, id, true, ""); err != nil {
		t.Fatal(err)
	}
	d, _ := w.deskOf("agency-reviewer")
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(exe), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	var browser *exec.Cmd
	opts = append(opts, chromedp.ModifyCmdFunc(func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		browser = c
	}))
	alloc, stop := chromedp.NewExecAllocator(ctx, opts...)
	defer func() { // its helpers outlive it otherwise
		stop()
		if browser != nil && browser.Process != nil {
			_ = syscall.Kill(-browser.Process.Pid, syscall.SIGKILL)
		}
	}()
	tab, closeTab := chromedp.NewContext(alloc)
	defer closeTab()
	tab, cancel := context.WithTimeout(tab, 2*time.Minute)
	defer cancel()
	var state, digest, zh, en, table, evidence, refused, said, page string
	scripts := 0
	if err := chromedp.Run(tab,
		chromedp.Navigate(d.Address()),
		chromedp.Click(`//a[text()="`+string(id)+`"]`, chromedp.BySearch),
		chromedp.WaitVisible("#decide", chromedp.ByID),
		chromedp.Text("#state", &state, chromedp.ByID), chromedp.Text("#digest", &digest, chromedp.ByID),
		chromedp.Text("#zh", &zh, chromedp.ByID), chromedp.Text("#en", &en, chromedp.ByID),
		chromedp.Text("#result", &table, chromedp.ByID), chromedp.Text("#evidence", &evidence, chromedp.ByID),
		chromedp.Evaluate(`document.scripts.length + document.images.length + document.querySelectorAll("link").length`, &scripts),
		chromedp.Click("#approve", chromedp.ByID), // without the tick
		chromedp.WaitNotPresent("#decide", chromedp.ByID),
		chromedp.Text("body", &refused, chromedp.ByQuery),
		chromedp.NavigateBack(),
		chromedp.WaitVisible("#decide", chromedp.ByID),
		chromedp.Click("#confirmed", chromedp.ByID),
		chromedp.Click("#approve", chromedp.ByID),
		chromedp.WaitVisible("#said", chromedp.ByID),
		chromedp.Text("#said", &said, chromedp.ByID), chromedp.Text("body", &page, chromedp.ByQuery),
	); err != nil {
		t.Fatalf("%v\n%s", err, refused)
	}
	r, err := result[api.Review](w.as("agency-reviewer").api.GetReview(ctx, id))
	w.must(err)
	if state != string(egress.Partial) || digest != hex.EncodeToString(r.Digest) || scripts != 0 {
		t.Errorf("%s %s, %d scripts, images and links", state, digest, scripts)
	}
	for text, wants := range map[string][]string{zh: {"公布", "门限", "出域类别 A 统计结果"}, en: {"cells published", "thresholds: at least 10 people"}, table: {"age_band", "people", "cost_1"},
		evidence: {"公布 published", "%"}, refused: {"confirmation"}, said: {"signed and counted"}, page: {"released"}} {
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("the page lacks %q in %q", want, text)
			}
		}
	}
	if s := w.state(id); s != string(egress.Released) {
		t.Errorf("decided in the browser: %s", s)
	}
}

// TestDeskTakesDecisionsFromItsOwnPagesOnly: another host name, another browser, another origin, another token, no confirmation, and
// a page that is out of date sign nothing.
func TestDeskTakesDecisionsFromItsOwnPagesOnly(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	id := w.another(1)
	d, host := w.deskOf("unit-medical-reviewer")
	r, err := result[api.Review](w.as("unit-medical-reviewer").api.GetReview(ctx, id))
	w.must(err)
	key := strings.TrimPrefix(d.Address(), "http://"+host+"/?key=")
	client := &http.Client{}
	own := host
	get := func(path, cookie, host string) (int, string, http.Header) {
		q, err := http.NewRequest(http.MethodGet, "http://"+own+path, nil)
		w.must(err)
		if host != "" {
			q.Host = host
		}
		if cookie != "" {
			q.AddCookie(&http.Cookie{Name: "opdomain-desk", Value: cookie})
		}
		res, err := client.Do(q)
		w.must(err)
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		w.must(err)
		return res.StatusCode, string(b), res.Header
	}
	for name, x := range map[string]struct {
		path, cookie, host string
		want               int
	}{
		"no key":         {"/", "", "", 403},
		"another key":    {"/?key=" + strings.Repeat("0", 32), "", "", 403},
		"another cookie": {"/review/" + string(id), strings.Repeat("0", 32), "", 403},
		"another host":   {"/?key=" + key, key, "evil.example", 421},
		"no such page":   {"/../etc", key, "", 404},
		"its own":        {"/?key=" + key, "", "", 200},
		"with cookie":    {"/review/" + string(id), key, "", 200},
	} {
		if got, _, _ := get(x.path, x.cookie, x.host); got != x.want {
			t.Errorf("%s: %d, want %d", name, got, x.want)
		}
	}
	_, text, head := get("/review/"+string(id), key, "")
	if !strings.Contains(head.Get("Content-Security-Policy"), "frame-ancestors 'none'") || head.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", head)
	}
	if strings.Contains(text, "逐格证据") {
		t.Error("a unit that owns some of the data sees the numbers of others'")
	}
	_, token, _ := strings.Cut(text, `name="token" value="`)
	token, _, _ = strings.Cut(token, `"`)
	good := url.Values{"token": {token}, "question": {string(id)}, "digest": {hex.EncodeToString(r.Digest)}, "state": {r.State}, "decision": {"approve"}, "confirmed": {"yes"}}
	post := func(f url.Values, origin, cookie string) int {
		q, err := http.NewRequest(http.MethodPost, "http://"+host+"/decide", strings.NewReader(f.Encode()))
		w.must(err)
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Origin", origin)
		q.AddCookie(&http.Cookie{Name: "opdomain-desk", Value: cookie})
		res, err := client.Do(q)
		w.must(err)
		_ = res.Body.Close()
		return res.StatusCode
	}
	with := func(name, value string) url.Values {
		f := url.Values{}
		for k, v := range good {
			f[k] = v
		}
		f.Set(name, value)
		return f
	}
	own = "http://" + host
	for name, x := range map[string]struct {
		form           url.Values
		origin, cookie string
	}{
		"another origin":     {good, "http://evil.example", key},
		"no origin":          {good, "null", key},
		"another port":       {good, "http://127.0.0.1:1", key},
		"another browser":    {good, own, strings.Repeat("0", 32)},
		"another token":      {with("token", strings.Repeat("0", 32)), own, key},
		"not confirmed":      {with("confirmed", ""), own, key},
		"another digest":     {with("digest", hex.EncodeToString(egress.Digest(nil))), own, key},
		"half a digest":      {with("digest", "00"), own, key},
		"another state":      {with("state", "partial"), own, key},
		"no such decision":   {with("decision", "release"), own, key},
		"a lead's":           {with("decision", "lead-approve"), own, key},
		"refused, no reason": {with("decision", "refuse"), own, key},
		"a long form":        {with("reason", strings.Repeat("x", 20<<10)), own, key},
	} {
		if got := post(x.form, x.origin, x.cookie); got < 400 {
			t.Errorf("%s: %d", name, got)
		}
		if s := w.state(id); s != string(egress.InReview) {
			t.Fatalf("%s: the review moved to %s", name, s)
		}
	}
	if got := post(good, own, key); got != 200 || w.state(id) != string(egress.Partial) {
		t.Errorf("the desk's own page: %d, %s", got, w.state(id))
	}
	if _, err := console.NewDesk(desk{w.as("agency-reviewer")}, sandbox.Identity{}, &net.TCPAddr{IP: net.IPv4zero, Port: 80}, w.rand); err == nil {
		t.Error("a desk on every address")
	}
}
