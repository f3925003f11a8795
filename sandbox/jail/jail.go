package jail

import (
	"fmt"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Tier (隔离级别) is how a plug-in is confined.
type Tier string

// The tiers; policy states the least one per grade.
const (
	T1  Tier = "T1"  // namespaces, empty root, no capabilities, Landlock, seccomp, cgroups
	T1p Tier = "T1p" // T1 without namespaces and root: inside a pod that nobody else shares
	W   Tier = "W"   // a wasm module under wazero inside T1
	Wp  Tier = "Wp"  // a wasm module under wazero inside T1p
	T2  Tier = "T2"  // gVisor: a kernel of its own, where a launcher is given runsc
)

// Sentry (gVisor 配置) is runsc as the agency approved it. It is never looked for: a path and a digest, or there is none.
type Sentry struct {
	Path   string
	Digest [sm.Size]byte // SM3 of the file
}

// Limits (资源上限) bound one plug-in. Zero fields take the default.
type Limits struct {
	Memory  int64         // bytes; default 512 MiB
	Threads int           // default 64, at least 8
	Cores   float64       // processor cores; default: all; only where cgroups are
	Wall    time.Duration // from start to kill; default one minute
	Start   time.Duration // from start to the first answer; default 10 s
	Output  int64         // bytes of standard output and error together; default 64 KiB
	Message int           // bytes of one message from the plug-in; default 8 MiB
}

const (
	minMemory  = 16 << 20
	maxMessage = 64 << 20
)

func (l Limits) complete() (Limits, error) {
	if l.Memory == 0 {
		l.Memory = 512 << 20
	}
	if l.Threads == 0 {
		l.Threads = 64
	}
	if l.Wall == 0 {
		l.Wall = time.Minute
	}
	if l.Start == 0 {
		l.Start = 10 * time.Second
	}
	if l.Output == 0 {
		l.Output = 64 << 10
	}
	if l.Message == 0 {
		l.Message = 8 << 20
	}
	bad := ""
	switch {
	case l.Memory < minMemory:
		bad = "memory: at least 16 MiB"
	case l.Threads < 8 || l.Threads > 4096:
		bad = "threads: 8 to 4096"
	case l.Cores < 0 || l.Cores > 4096 || l.Cores != 0 && l.Cores < 0.01:
		bad = "cores: 0.01 to 4096, or 0 for all"
	case l.Wall < 0 || l.Start < 0 || l.Output < 0:
		bad = "wall, start and output are not negative"
	case l.Message < 1024 || l.Message > maxMessage:
		bad = "message: 1 KiB to 64 MiB"
	}
	if bad != "" {
		return l, &sandbox.Error{Op: "jail: start", Kind: sandbox.Invalid, Object: "limits", Detail: bad}
	}
	return l, nil
}

// Helper is the file name of the program that the jail starts, beside the program that uses it.
const Helper = "opdomain-jail"

// Job (隔离任务) is one start of a plug-in.
type Job struct {
	Tier    Tier
	Image   *Image   // of T1, T1p and T2
	Module  *Image   // of W and Wp: the wasm module
	Dataset *Dataset // nil: none
	Limits  Limits

	// Entry (自有程序入口), of T1 and T1p in place of an image, is argument 0 under which the jail's own program is started inside: an engine of
	// this project whose library nobody trusts. Its program says by Entered that it knows the name. It speaks bytes on Stream and no gRPC,
	// unless it Serves: then it is as a plug-in is, with a data set and gRPC.
	Entry  string
	Serves bool
}

// Reason (终止原因) says how a plug-in ended or why it did not start. It is one of these and never the plug-in's words.
type Reason string

// The reasons: at most 16, so that a plug-in that chooses its end says at most four bits.
const (
	Ended     Reason = "ended"     // by itself, with status 0
	Crashed   Reason = "crashed"   // by itself, otherwise
	Forbidden Reason = "forbidden" // the kernel killed it for a system call
	Memory    Reason = "memory"    // it ran out of what it was given
	Deadline  Reason = "deadline"  // its time was over
	Cancelled Reason = "cancelled" // the caller gave up
	Flooded   Reason = "flooded"   // more output than allowed
	Oversize  Reason = "oversize"  // one message larger than allowed
	Protocol  Reason = "protocol"  // what it sent is not the protocol
	Refused   Reason = "refused"   // it answered a call with an error
	Closed    Reason = "closed"    // the host closed it
	Unfit     Reason = "unfit"     // its posture is not that of its tier
	BadImage  Reason = "image"     // the image is not the approved one, or cannot be executed
	Layer     Reason = "layer"     // the machine lacks a layer of the tier
)

// Fault (插件故障) is a Reason as an error. Kind, as sandbox errors have it, follows from the reason.
type Fault struct {
	Op     string // "jail: start", "jail: call"
	Reason Reason
	Object string // a layer, a method, a step: never the plug-in's words
	Detail string
	Err    error
}

func (f *Fault) Error() string {
	s := f.Op
	if f.Object != "" {
		s += " " + f.Object
	}
	s += ": " + string(f.Reason)
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

func (f *Fault) Unwrap() []error {
	kind := sandbox.Withheld // what a plug-in does with data is said to nobody but owners and reviewers
	switch f.Reason {
	case Unfit, Layer:
		kind = sandbox.Unavailable
	case BadImage:
		kind = sandbox.Tampered
	case Oversize, Flooded:
		kind = sandbox.TooLarge
	}
	e := &sandbox.Error{Op: f.Op, Kind: kind, Object: f.Object, Detail: string(f.Reason)}
	if f.Err == nil {
		return []error{e}
	}
	return []error{e, f.Err}
}

// ReasonOf gives the reason in err, or "" when it has none.
func ReasonOf(err error) Reason {
	for err != nil {
		switch x := err.(type) {
		case *Fault:
			return x.Reason
		case interface{ Unwrap() error }:
			err = x.Unwrap()
		case interface{ Unwrap() []error }:
			for _, e := range x.Unwrap() {
				if r := ReasonOf(e); r != "" {
					return r
				}
			}
			return ""
		default:
			return ""
		}
	}
	return ""
}

// Posture (隔离态势) is what was seen of a plug-in from outside before it got data: lines of "name value", in a fixed order.
// It holds nothing of the plug-in's choosing and is equal for equal jobs on one machine.
type Posture []string

// Text is the posture as one text.
func (p Posture) Text() string {
	s := "opdomain jail posture v1\n"
	for _, line := range p {
		s += line + "\n"
	}
	return s
}

// Digest is SM3 over Text.
func (p Posture) Digest() [sm.Size]byte { return sm.Sum([]byte(p.Text())) }

// Part (隔离层) is one layer as Probe found it.
type Part struct {
	Name   string `json:"name"`
	Have   bool   `json:"have"`
	Detail string `json:"detail"` // what it is here, or what is missing
}

// Report (隔离能力) is what Probe found.
type Report struct {
	Parts []Part `json:"parts"`
}

// The layers by name.
const (
	layerSystem     = "system"
	layerMemfd      = "sealed memory"
	layerLandlock   = "landlock"
	layerSeccomp    = "seccomp"
	layerNamespaces = "namespaces"
	layerStage      = "stage 1"
	layerCgroup     = "cgroups"
	layerHost       = "module host"
	layerGvisor     = "gvisor"
)

// layersOf are the layers of each tier.
var layersOf = map[Tier][]string{
	T1:  {layerSystem, layerMemfd, layerLandlock, layerSeccomp, layerNamespaces, layerStage, layerCgroup},
	T1p: {layerSystem, layerMemfd, layerLandlock, layerSeccomp, layerStage},
	W:   {layerSystem, layerMemfd, layerLandlock, layerSeccomp, layerNamespaces, layerStage, layerCgroup, layerHost},
	Wp:  {layerSystem, layerMemfd, layerLandlock, layerSeccomp, layerStage, layerHost},
	T2:  {layerSystem, layerMemfd, layerSeccomp, layerStage, layerCgroup, layerHost, layerGvisor},
}

// Tiers are all tiers, the usual one first.
func Tiers() []Tier { return []Tier{T1, T1p, W, Wp, T2} }

// Missing lists the layers of a tier that the machine lacks; an unknown tier lacks itself.
func (r Report) Missing(t Tier) []Part {
	names, ok := layersOf[t]
	if !ok {
		return []Part{{Name: string(t), Detail: "no such tier: T1, T1p, W, Wp, T2"}}
	}
	var out []Part
	for _, n := range names {
		found := Part{Name: n, Detail: "was not looked for"}
		for _, p := range r.Parts {
			if p.Name == n {
				found = p
			}
		}
		if !found.Have {
			out = append(out, found)
		}
	}
	return out
}

// refuse is nil when the machine has every layer of a tier.
func (r Report) refuse(t Tier) error {
	missing := r.Missing(t)
	if len(missing) == 0 {
		return nil
	}
	return &Fault{Op: "jail: start", Reason: Layer, Object: missing[0].Name, Detail: fmt.Sprintf("%s needs it: %s", t, missing[0].Detail)}
}

// MissingOwn is Missing for a Job with an Entry, which also wants a program that can be an image.
func (r Report) MissingOwn(t Tier) []Part {
	switch t {
	case T1:
		t = W
	case T1p:
		t = Wp
	}
	return r.Missing(t)
}

// Verdict (金丝雀结论) is what the attacks of a canary came to.
type Verdict struct {
	Tier    Tier     `json:"tier"`
	Attacks int      `json:"attacks"`
	Worked  []string `json:"worked,omitempty"` // names of those that did: none, or the node takes no job
}
