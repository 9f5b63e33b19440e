package volume

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"evenkeel/replication/disk"
	"evenkeel/replication/export"
)

const benchSize = 256 << 20

// benchPair is a pair without the fault layer, in sync, a primary; alone: without b.
func benchPair(b *testing.B, alone bool) *pair {
	p := newPair(b, benchSize)
	p.a.config.Faults, p.b.config.Faults = "", ""
	p.a.start()
	if !alone {
		p.b.start()
		p.b.until("in sync", inSync)
		p.a.until("in sync", inSync)
	}
	p.a.promote(1)
	return p
}

// writeLoad keeps depth writes of size bytes in flight.
func writeLoad(b *testing.B, depth, size int, submit func(off uint64, data []byte, done func())) {
	free := make(chan []byte, depth)
	for range depth {
		free <- alloc(size)
	}
	random := rand.New(rand.NewPCG(1, 2))
	blocks := uint64(benchSize/2) / uint64(size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		data := <-free
		submit(random.Uint64N(blocks)*uint64(size), data, func() { free <- data })
	}
	for range depth {
		<-free
	}
}

func benchVolume(b *testing.B, alone bool, depth, size int) {
	p := benchPair(b, alone)
	writeLoad(b, depth, size, func(off uint64, data []byte, done func()) {
		p.a.loop.submitNow(&export.Request{Op: export.Write, Offset: off, Length: uint32(len(data)), Data: data, Done: func(err error) {
			if err != nil {
				b.Error(err)
			}
			done()
		}})
	})
}

func benchRaw(b *testing.B, depth, size int) {
	path := b.TempDir() + "/raw"
	f, err := os.Create(path)
	must(b, err)
	must(b, f.Truncate(benchSize))
	must(b, f.Close())
	d, err := disk.Open(path, disk.Options{})
	must(b, err)
	defer d.Close()
	writeLoad(b, depth, size, func(off uint64, data []byte, done func()) {
		go func() {
			if err := d.WriteAt(data, off, false); err != nil {
				b.Error(err)
			}
			done()
		}()
	})
}

func BenchmarkWrite(b *testing.B) {
	for _, c := range []struct {
		name        string
		depth, size int
	}{{"4k-1", 1, 4096}, {"4k-16", 16, 4096}, {"64k-16", 16, 64 << 10}, {"1M-8", 8, 1 << 20}} {
		b.Run("raw/"+c.name, func(b *testing.B) { benchRaw(b, c.depth, c.size) })
		b.Run("alone/"+c.name, func(b *testing.B) { benchVolume(b, true, c.depth, c.size) })
		b.Run("pair/"+c.name, func(b *testing.B) { benchVolume(b, false, c.depth, c.size) })
	}
}

// BenchmarkResync prints the rate of a full sync of data that are not zero.
func BenchmarkResync(b *testing.B) {
	for range b.N {
		b.StopTimer()
		p := newPair(b, benchSize)
		p.a.config.Faults, p.b.config.Faults = "", ""
		p.a.start()
		p.a.promote(1)
		for off := uint64(0); off+1<<20 < p.a.loop.Size(); off += 1 << 20 {
			must(b, p.a.write(off, pattern(int(off>>20), 1<<20)))
		}
		b.StartTimer()
		began := time.Now()
		p.b.start()
		p.b.until("in sync", inSync)
		b.ReportMetric(benchSize/1e6/time.Since(began).Seconds(), "MB/s")
		b.StopTimer()
		p.a.end()
		p.b.end()
	}
}
