// Command opdomain (授权运营域) runs a domain and is the command line of everybody who works with one: agency, source
// units, operators, partners, insurers, data subjects. Every verb but init, serve, demo and those that work on files alone is a
// signed request to a running domain.
//
// Exit statuses: 0 done, 1 failed, 2 wrong usage, 3 refused by the domain's policy (the reasons are printed). Errors are
// printed as "error:" and, where there is something to do, "hint:".
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/keys/pkcs11"
	"github.com/opdomain/opdomain/connectors/file/parse"
	"github.com/opdomain/opdomain/mpc/he/jailed"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/jail"
)

// Exit statuses.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
)

const exitHelp = `
exit status: 0 done, 1 failed, 2 wrong usage, 3 refused by the domain's policy`

func main() {
	jail.Enter() // returns, unless the jail started this process
	if code := jailed.Enter(rand.Reader); code >= 0 {
		os.Exit(code)
	}
	if err := harden(os.Args[1:]); err != nil {
		os.Exit((&app{err: os.Stderr}).fail(err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// app is what the commands share.
type app struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time
	steady   func() time.Duration // since the program started, by a clock that nobody sets
	rand     io.Reader

	server     string
	as         string
	passphrase string // file
	json       bool
	force      bool // files that exist may be written over

	zones *sharesFile // with whom the served domain computes over shares; nil: nobody

	files *parse.Parser // of XLSX, Parquet and Arrow IPC; nothing is started before the first of them

	moduleMu sync.Mutex
	modules  map[string]*pkcs11.Module // of devices, by path

	noSuch error // help was asked for of a command that there is not
}

// refused is a refusal as the end of a command.
type refused struct{ decision sandbox.Decision }

func (r *refused) Error() string { return "refused by the domain's policy" }

// usageError marks an error of the command line itself.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	start := time.Now()
	a := &app{in: in, out: out, err: errOut, now: time.Now, steady: func() time.Duration { return time.Since(start) }, rand: rand.Reader, files: parse.New(parse.Config{})}
	defer func() { _ = a.files.Close() }()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = a.noSuch
	}
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.err, "error: interrupted before it was done 已中断")
		if hint := hintOf(err); hint != "" {
			fmt.Fprintln(a.err, "hint:", hint)
		}
		return exitFailed
	}
	return a.failed(err, c.CommandPath())
}

func (a *app) fail(err error) int { return a.failed(err, "opdomain") }

// failed prints how a command ended, and gives the exit status.
func (a *app) failed(err error, command string) int {
	if status, ok := statusOf(err); ok {
		return status
	}
	var r *refused
	if errors.As(err, &r) {
		a.printReasons(a.err, r.decision)
		return exitRefused
	}
	if u := (*uncompiled)(nil); errors.As(err, &u) {
		u.print(a.err)
		return exitRefused
	}
	fmt.Fprintln(a.err, "error:", err)
	var e *sandbox.Error
	if errors.As(err, &e) && e.Hint != "" {
		fmt.Fprintln(a.err, "hint:", e.Hint)
	}
	if h := (*hinted)(nil); errors.As(err, &h) {
		fmt.Fprintln(a.err, "hint:", h.hint)
	}
	var u usageError
	if errors.As(err, &u) || strings.HasPrefix(err.Error(), "unknown command") || strings.HasPrefix(err.Error(), "required flag") ||
		strings.HasPrefix(err.Error(), "at least one of the flags") || strings.HasPrefix(err.Error(), "if any flags in the group") {
		if e == nil || e.Hint == "" {
			fmt.Fprintln(a.err, "hint:", command, "--help")
		}
		return exitUsage
	}
	return exitFailed
}

// printReasons prints a refusal: column, rule, article and the smallest change that would pass.
func (a *app) printReasons(w io.Writer, d sandbox.Decision) {
	fmt.Fprintln(w, "refused 不予受理:")
	article := "" // said once where one follows another
	for _, r := range d.Reasons {
		fmt.Fprintf(w, "  %s\n", r.Code)
		if r.Column != "" {
			fmt.Fprintf(w, "    column 字段   %s\n", r.Column)
		}
		fmt.Fprintf(w, "    rule 规则     %s\n", r.Rule)
		if r.Article != "" && r.Article != article {
			fmt.Fprintf(w, "    article 依据  %s\n", r.Article)
			article = r.Article
		}
		if r.Change != "" {
			fmt.Fprintf(w, "    change 可改为 %s\n", r.Change)
		}
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "opdomain",
		Short:         "Authorised operation of public data: raw data stay, approved answers leave (公共数据授权运营域)",
		Long:          "opdomain runs an authorised operation domain (公共数据授权运营域) and talks to one.\nStart with: opdomain demo" + exitHelp,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.StringVar(&a.server, "server", "http://127.0.0.1:8471", "address of the domain")
	f.StringVar(&a.as, "as", "", "folder of the identity to sign with, e.g. DIR/identities/operator")
	f.StringVar(&a.passphrase, "passphrase-file", "", "file with the passphrase, - for standard input; else $OPDOMAIN_PASSPHRASE, else DIR.passphrase beside the domain")
	f.BoolVar(&a.json, "json", false, "print results as JSON")
	f.BoolVar(&a.force, "force", false, "let --out write over a regular file that exists")
	root.AddCommand(a.initCommand(), a.serveCommand(), a.demoCommand(), a.sourceCommand(), a.ingestCommand(), a.catalogCommand(), a.grantCommand(),
		a.consentCommand(), a.queryCommand(), a.egressCommand(), a.releaseCommand(), a.meterCommand(), a.billCommand(), a.evidenceCommand(),
		a.identityCommand(), a.keysCommand(), a.witnessCommand(), a.vaultCommand(), a.backupCommand(), a.restoreCommand(), a.doctorCommand(), a.anonymizeCommand(), a.classifyCommand(), a.desensitizeCommand(), a.viewCommand(), a.algoCommand(), a.heCommand(), a.workerCommand(), a.recordCommand(), a.mpcCommand())
	root.CompletionOptions.DisableDefaultCmd = true
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		if rest := c.Flags().Args(); c.HasSubCommands() && len(rest) > 0 {
			a.noSuch = unknownCommand(rest[0], c)
			return
		}
		help(c, args)
	})
	root.SetHelpCommand(&cobra.Command{Use: "help [COMMAND]", Short: "Help about a command", RunE: func(c *cobra.Command, args []string) error {
		of, rest, err := root.Find(args)
		if err == nil && len(rest) > 0 {
			err = unknownCommand(rest[0], of)
		}
		if err != nil {
			return usageError{err}
		}
		help(of, nil)
		return nil
	}})
	for _, c := range root.Commands() {
		describe(c)
	}
	return root
}

func unknownCommand(name string, in *cobra.Command) error {
	return usageError{fmt.Errorf("unknown command %q for %q", name, in.CommandPath())}
}

// describe puts the exit statuses into every command's help and makes argument errors usage errors.
func describe(c *cobra.Command) {
	if c.Long == "" {
		c.Long = c.Short
	}
	c.Long += exitHelp
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		describe(sub)
	}
}

// group is a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(subs...)
	return c
}

// verb is a command that does something.
func verb(use, short string, args cobra.PositionalArgs, run func(c *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: run}
}

// show prints v as JSON, or as text prints it.
func (a *app) show(v any, text func(w io.Writer)) error {
	if a.json || text == nil {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	text(a.out)
	return nil
}

func invalid(object, rule, hint string) error {
	return &sandbox.Error{Op: "opdomain", Kind: sandbox.Invalid, Object: object, Detail: rule, Hint: hint}
}

// readJSON reads a file of JSON, or standard input for "-", strictly.
func (a *app) readJSON(path string, into any) error {
	b, err := a.readFile(path)
	if err != nil {
		return err
	}
	if at, err := strictly(b, into); err != nil {
		return invalid(path, fmt.Sprintf("fault near byte %d: one JSON object with the known fields, and nothing behind it", at), "")
	}
	return nil
}

// strictly decodes one JSON value with known fields only; at is near the fault.
func strictly(b []byte, into any) (at int64, err error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return dec.InputOffset(), err
	}
	if _, err := dec.Token(); err != io.EOF {
		return dec.InputOffset(), errors.New("more than one value")
	}
	return 0, nil
}

func (a *app) readFile(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(a.in, 1<<20))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, &sandbox.Error{Op: "read", Kind: sandbox.NotFound, Object: path, Detail: "the file cannot be read", Hint: "name a file that exists, or - for standard input"}
	}
	return b, nil
}
