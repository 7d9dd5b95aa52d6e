package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// What /proc (proc(5)) tells about a server and about the machine; zero where there is no /proc.

// tick is the unit of CPU time in /proc on every architecture that Go knows (USER_HZ).
const tick = 10 * time.Millisecond

// peakMemory returns the most bytes that a process had resident since resetPeakMemory.
func peakMemory(pid int) int64 { return statusBytes(pid, "VmHWM:") }

// residentMemory returns the bytes that a process has resident.
func residentMemory(pid int) int64 { return statusBytes(pid, "VmRSS:") }

// resetPeakMemory lets peakMemory begin anew.
func resetPeakMemory(pid int) {
	os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // without it the peak is that since the start
}

func statusBytes(pid int, field string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(b, []byte(field))
	line, _, _ := bytes.Cut(rest, []byte(" kB"))
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	return n << 10
}

// foreignTime returns the CPU time that all programs have used since the machine started, without this one and the
// server pid (0 for none), and what the host of a virtual machine gave to others. With writing, time in kernel mode is
// left out: kernel threads that write back what the server has pushed are not foreign.
func foreignTime(pid int, writing bool) time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	all := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal ...
	if len(all) < 9 {
		return 0
	}
	sum := ticks(all[1]) + ticks(all[2]) + ticks(all[8])
	if !writing {
		sum += ticks(all[3]) + ticks(all[6]) + ticks(all[7])
	}
	for _, p := range []int{pid, os.Getpid()} {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			continue
		}
		_, rest, _ := bytes.Cut(stat, []byte(") ")) // the name before it may contain spaces
		one := strings.Fields(string(rest))
		if len(one) < 13 {
			continue
		}
		sum -= ticks(one[11])
		if !writing {
			sum -= ticks(one[12])
		}
	}
	return sum
}

func ticks(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64) // the kernel writes nothing else
	return time.Duration(n) * tick
}

// busyShare is how much of a core other programs may use before a measurement is marked as disturbed.
const busyShare = 0.15

// awaitQuiet waits until other programs leave the machine alone for a moment, but no longer than limit.
func awaitQuiet(ctx context.Context, limit time.Duration) {
	const moment = 200 * time.Millisecond
	for end := time.Now().Add(limit); time.Now().Before(end) && ctx.Err() == nil; {
		before := foreignTime(0, false)
		pause(ctx, moment)
		if (foreignTime(0, false) - before).Seconds() < busyShare*moment.Seconds() {
			return
		}
	}
}

// describeMachine names the processor, the number of cores, the kernel and Go.
func describeMachine() string {
	text := fmt.Sprintf("%d cores, %s", runtime.NumCPU(), runtime.Version())
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		text = fmt.Sprintf("%s, Linux %s", text, bytes.TrimSpace(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(b), "model name")
		line, _, _ := strings.Cut(rest, "\n")
		if name := strings.TrimSpace(strings.TrimLeft(line, "\t :")); name != "" {
			text = name + ", " + text
		}
	}
	return text
}
