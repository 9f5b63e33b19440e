//go:build figures

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"evenkeel/ha/control"
)

// The figures are measured by `make figures` on a quiet machine, not in CI: they judge nothing.

// TestGaps prints the gaps of ten switch-overs and ten takeovers, median and maximum, on the address and on the guestbook.
func TestGaps(t *testing.T) {
	l := upLab(t)
	l.settle(t, "a")
	master := "a"
	for _, way := range []string{"switch-over", "takeover"} {
		var echo, http []int64
		for range 10 {
			e := l.probe(t, 8*time.Second, "10.88.1.100:7007")
			h := l.probe(t, 8*time.Second, "--every", "10ms", "--http", "http://10.88.1.100:8080/")
			time.Sleep(time.Second)
			victim := master
			master = other(master)
			if way == "switch-over" {
				l.run(t, "--node", master, "takeover")
			} else {
				l.do(t, "kill", victim)
			}
			echo, http = append(echo, e().SilenceMS), append(http, h().SilenceMS)
			if way == "takeover" {
				l.do(t, "start", victim)
			}
			l.settle(t, master)
		}
		t.Logf("%s: address silent for %s, guestbook %s", way, medianMax(echo), medianMax(http))
	}
	for _, n := range []string{"a", "b"} {
		s, _ := l.status(n)
		for _, p := range s.Processes {
			t.Logf("memory on %s: %-12s %.1f MB", n, p.Name, float64(p.RSSBytes)/1e6)
		}
	}
}

func medianMax(ms []int64) string {
	slices.Sort(ms)
	return fmt.Sprintf("median %d ms, maximum %d ms", ms[len(ms)/2], ms[len(ms)-1])
}

// fioResult is the part of fio's JSON that is read.
type fioResult struct {
	Jobs []struct {
		Write struct {
			IOPS  float64 `json:"iops"`
			BW    float64 `json:"bw_bytes"`
			ClatN struct {
				Mean float64 `json:"mean"`
			} `json:"clat_ns"`
		} `json:"write"`
	} `json:"jobs"`
}

// TestFio prints 4k random writes on the raw file, the loop device and the NBD socket of the scratch volume, alternating, with ratios to the file.
func TestFio(t *testing.T) {
	l := upLab(t, "--scratch", "256M")
	l.settle(t, "a")
	s, _ := l.status("a")
	i := slices.IndexFunc(s.Volumes, func(v control.Volume) bool { return v.Name == "scratch" })
	if i < 0 || s.Volumes[i].Device == nil {
		t.Fatalf("no device for scratch: %+v", s.Volumes)
	}
	through := filepath.Join(l.dir, "%s", "var", "disks", "faults.json")
	for _, node := range []string{"a", "b"} { // the fault layer, which a real pair has not, holds nothing
		if err := os.WriteFile(fmt.Sprintf(through, node), []byte(`{"mode":"through"}`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw := filepath.Join(l.dir, "a", "var", "disks", "fio.raw")
	targets := []struct{ name, where string }{
		{"raw file", "--ioengine=libaio --filename=" + raw},
		{"loop device", "--ioengine=libaio --filename=" + *s.Volumes[i].Device},
		{"NBD socket", "--ioengine=nbd --uri=nbd+unix:///scratch?socket=" + filepath.Join(l.dir, "a", "run", "volume-scratch.nbd")},
	}
	for _, job := range []struct{ name, args string }{
		{"4k depth 1", "--bs=4k --iodepth=1 --rw=randwrite"},
		{"4k depth 16", "--bs=4k --iodepth=16 --rw=randwrite"},
		{"4k depth 1 with fsync", "--bs=4k --iodepth=1 --rw=randwrite --fsync=1"},
		{"64k depth 16", "--bs=64k --iodepth=16 --rw=randwrite"},
		{"1M depth 4", "--bs=1M --iodepth=4 --rw=write"},
	} {
		base := 0.0
		for _, target := range targets {
			r := fio(t, job.args+" "+target.where)
			w := r.Jobs[0].Write
			if base == 0 {
				base = w.IOPS
			}
			t.Logf("%-22s %-12s %8.0f IOPS %8.1f MB/s %8.0f us  %.2f of the raw file", job.name, target.name, w.IOPS, w.BW/1e6, w.ClatN.Mean/1e3, w.IOPS/base)
		}
	}
}

func fio(t *testing.T, args string) (r fioResult) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "fio --name=x --direct=1 --size=200M --runtime=4 --time_based --output-format=json "+args)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("fio %s: %v\n%s", args, err, out)
	}
	out = out[max(0, bytes.IndexByte(out, '{')):] // fio's nbd engine says hello first
	if err := json.Unmarshal(out, &r); err != nil || len(r.Jobs) == 0 {
		t.Fatalf("fio's answer: %v\n%s", err, out)
	}
	return r
}
