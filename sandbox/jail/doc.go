// Package jail starts one plug-in that nobody trusts, confines it, feeds it and kills it (隔离执行). It wraps
// hashicorp/go-plugin, which is a protocol and not a sandbox: the process, its channel and its end are ours.
//
// A plug-in is a static executable image. It is copied into a sealed memfd, its SM3 digest is checked over the sealed
// object, and that object is executed by descriptor, so there is no path that could be swapped between check and start.
// Between the two stands stage 1: this program again, in new namespaces (user, mount, pid, net, ipc, uts, cgroup), which
// makes an empty read-only root, closes descriptors, sets limits, gives up every capability, takes no_new_privs, a Landlock
// domain that allows nothing and a seccomp allow-list that kills. A program that starts plug-ins calls Enter first in main.
//
// Inside there is gRPC on descriptor 3 (one connection, no listener, no environment but two variables) and, on descriptor
// 4, one message that carries the data set as a sealed read-only memfd. It is sent only after the process was examined from
// outside (Posture). What is seen there is a text with an SM3 digest that callers put into evidence. Standard output and
// error are counted, never stored. Status texts of a plug-in never reach a caller: an error is one of at most 16 reasons.
//
// Tiers: T1 all of it; T1p without namespaces and root, inside a pod that nobody else shares; W and Wp a wasm module under wazero
// inside T1 and T1p; T2 under gVisor, on a kernel of its own, started as root where Config.Sentry names runsc by path and digest. Probe
// says for each layer whether this machine has it. A tier with a missing layer is refused with the layer's name; there is no
// downgrade and no switch that weakens one. Before the first plug-in of a tier the canary attacks the machine from inside; an attack
// that works halts the launcher for good. As root T1 wants writable cgroups (v1 or v2); as another user the limits are those of the
// process alone, and the posture says so. A host of such a user that is closed to tracing, as one that serves is, has its namespaces
// made by a shim, a process of opdomain-jail beside each plug-in.
//
// A process of each kind waits in stage 1 before it is known what for, so that a start does not wait for namespaces: one idle
// process and its few MiB per launcher.
//
// Limits: bytes of memory, threads, processor cores, wall time, bytes of output (64 KiB), bytes of one message (8 MiB).
// A deadline, a flood of output, a cancelled context or Close end the process by SIGKILL first; when the host dies the
// kernel kills it.
//
// It does not decide what a plug-in may see, parse what it answers, or keep the approved images: sandbox/algo and
// sandbox/run do. It cannot hide time from native code, and a kernel defect behind an allowed call is outside it.
// Linux only; elsewhere the package builds, Probe says what is missing and every start is refused.
package jail
