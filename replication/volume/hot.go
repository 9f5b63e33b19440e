package volume

import (
	"fmt"

	"evenkeel/replication/activity"
	"evenkeel/replication/dirty"
	"evenkeel/replication/disk"
	"evenkeel/replication/meta"
)

// heat takes references on the extents of a piece; false: it waits for a transaction and will be started again.
func (l *loop) heat(o *op) bool {
	first, last := activity.ExtentsOf(o.off, o.end-o.off)
	if l.hot.Hold(first, last) {
		o.hot = true
		return true
	}
	l.cold = append(l.cold, o)
	l.activate()
	return false
}

// cool gives the references back.
func (l *loop) cool(o *op) {
	if !o.hot {
		return
	}
	o.hot = false
	first, last := activity.ExtentsOf(o.off, o.end-o.off)
	l.hot.Release(first, last)
	if len(l.cold) > 0 {
		l.activate()
	}
}

// activate writes one transaction for all that wait; one is under way at a time.
func (l *loop) activate() {
	if l.activating || len(l.cold) == 0 || l.area == nil {
		return
	}
	t, ok := l.hot.Activate(l.coldExtents(activity.MaxUpdates))
	if !ok {
		if t, ok = l.hot.Activate(extentsOf(l.cold[0])); !ok {
			l.wantFlush() // the peer's flush lets extents go
			return
		}
	}
	images := l.evictedPages(t.Evicted)
	l.activating = true
	area, disk := l.area, l.disk
	l.pagesDone.Add(1)
	l.jobs <- func() {
		err := logActivation(area, disk, t, images)
		l.pagesDone.Done()
		l.box.post(call(func(l *loop) { l.activated(t, err) }))
	}
}

// logActivation makes the transaction durable, and before it everything that the word "cold" of a leaving extent claims: its data and
// its bits.
func logActivation(area *meta.Area, d disk.Disk, t activity.Transaction, images []meta.Image) error {
	if len(t.Evicted) > 0 {
		if err := area.WritePages(images); err != nil {
			return err
		}
		if err := d.Flush(); err != nil {
			return err
		}
	}
	return area.LogTransaction(t)
}

func (l *loop) activated(t activity.Transaction, err error) {
	l.activating = false
	if err != nil {
		l.diskFailed(fmt.Errorf("activity log: %w", err))
		return
	}
	l.hot.Committed(t)
	l.restart(&l.cold)
}

// coldExtents are the extents that the waiting pieces need, at most n.
func (l *loop) coldExtents(n int) []activity.Extent {
	seen := map[activity.Extent]bool{}
	var all []activity.Extent
	for _, o := range l.cold {
		for _, e := range extentsOf(o) {
			if !seen[e] {
				seen[e] = true
				all = append(all, e)
			}
		}
		if len(all) >= n/2 {
			break
		}
	}
	return all
}

func extentsOf(o *op) []activity.Extent {
	first, last := activity.ExtentsOf(o.off, o.end-o.off)
	var all []activity.Extent
	for e := first; e <= last; e++ {
		all = append(all, e)
	}
	return all
}

// evictedPages are the changed bitmap pages of extents that leave.
func (l *loop) evictedPages(extents []activity.Extent) []meta.Image {
	var images []meta.Image
	for _, e := range extents {
		off := uint64(e) * activity.ExtentSize
		n := dirty.PageOf(off)
		if p, ok := l.bits.Changed(n); ok && p == n && off < l.bits.Size() {
			images = append(images, meta.Image{Page: n, Data: l.area.PageImage(l.bits, n)})
		}
	}
	return images
}
