package meta

import (
	"os"
	"path/filepath"
	"testing"

	"evenkeel/replication"
	"evenkeel/replication/activity"
	"evenkeel/replication/disk"
)

// BenchmarkSave and BenchmarkLogTransaction measure what a state change and a cold extent cost on a real file.
func BenchmarkSave(b *testing.B) {
	a := onFile(b)
	for range b.N {
		if err := a.Save(a.State().Advance()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLogTransaction(b *testing.B) {
	a, log := onFile(b), activity.New(activity.Slots)
	for i := range b.N {
		tr, ok := log.Activate([]activity.Extent{activity.Extent(i % 1000)})
		if !ok {
			b.Fatal("no slot")
		}
		if err := a.LogTransaction(tr); err != nil {
			b.Fatal(err)
		}
		log.Committed(tr)
	}
}

func onFile(b *testing.B) *Area {
	path := filepath.Join(b.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.Truncate(path, 64<<20); err != nil {
		b.Fatal(err)
	}
	d, err := disk.Open(path, disk.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close() })
	a, err := Create(d, Options{Node: "a", First: true, Generation: replication.GenerationID{1}})
	if err != nil {
		b.Fatal(err)
	}
	return a
}
