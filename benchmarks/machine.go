package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/cpu"

	"github.com/opdomain/opdomain/attest/sm"
)

// machine describes where the numbers come from, in Markdown.
func machine() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| machine | |\n|---|---|\n| processor | %s |\n", processor())
	fmt.Fprintf(&b, "| processors, GOMAXPROCS | %d, %d |\n", runtime.NumCPU(), runtime.GOMAXPROCS(0))
	fmt.Fprintf(&b, "| features | %s |\n", strings.Join(features(), " "))
	fmt.Fprintf(&b, "| SM4-GCM | %s |\n", sm.GCMEngine())
	fmt.Fprintf(&b, "| Go | %s %s/%s |\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return b.String()
}

func features() []string {
	out := []string{}
	for _, f := range []struct {
		name string
		has  bool
	}{{"sse4.2", cpu.X86.HasSSE42}, {"aes", cpu.X86.HasAES}, {"pclmulqdq", cpu.X86.HasPCLMULQDQ}, {"avx", cpu.X86.HasAVX}, {"avx2", cpu.X86.HasAVX2},
		{"bmi2", cpu.X86.HasBMI2}, {"avx512f", cpu.X86.HasAVX512F}, {"avx512vbmi2", cpu.X86.HasAVX512VBMI2}, {"vaes", cpu.X86.HasAVX512VAES}, {"gfni", cpu.X86.HasAVX512GFNI}, {"vpclmulqdq", cpu.X86.HasAVX512VPCLMULQDQ},
		{"asimd", cpu.ARM64.HasASIMD}, {"sm3", cpu.ARM64.HasSM3}, {"sm4", cpu.ARM64.HasSM4}, {"sve", cpu.ARM64.HasSVE}} {
		if f.has {
			out = append(out, f.name)
		}
	}
	if len(out) == 0 {
		return []string{"unknown"}
	}
	return out
}

// processor gives the model name where the system tells it.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return runtime.GOARCH
}
