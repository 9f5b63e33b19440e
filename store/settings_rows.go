package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"evenkeel/ha"
)

// queryer is what *sql.DB and *sql.Tx share.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// insert writes one revision with all its rows and trims the history.
func insert(ctx context.Context, tx *sql.Tx, s ha.Settings) error {
	w := writer{ctx: ctx, tx: tx}
	id := w.exec("INSERT INTO revisions (revision, saved_at, saved_by) VALUES (?, ?, ?)", int64(s.Revision), s.SavedAt.UnixNano(), s.SavedBy)
	g, h, r := s.General, s.Heartbeat, s.Replication
	w.exec("INSERT INTO general VALUES (?, ?, ?, ?, ?, ?, ?)", id, g.Active, string(g.MasterNode), string(g.SlaveNode), text(g.MasterAddress), text(g.SlaveAddress), string(g.Mode))
	for i, p := range g.References {
		w.exec("INSERT INTO reference_points VALUES (?, ?, ?, ?)", id, i, p.Name, text(p.Address))
	}
	w.exec("INSERT INTO heartbeat VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", id, h.ClusterID, string(h.Profile), int64(h.Interval), int64(h.DeadTime),
		int64(h.BootWait), h.Serial, h.MasterSerial, h.SlaveSerial, h.Baud, h.SyncDevice, h.Port)
	for i, d := range h.Devices {
		w.exec("INSERT INTO beat_devices VALUES (?, ?, ?, ?)", id, i, d.Device, d.Send)
	}
	w.exec("INSERT INTO replication VALUES (?, ?, ?, ?, ?)", id, int64(r.Rate), r.ViaLAN, text(r.MasterAddress), text(r.SlaveAddress))
	for i, v := range r.Volumes {
		w.exec("INSERT INTO volumes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", id, i, v.Name, v.Index, v.MasterBacking, v.SlaveBacking, v.Filesystem, v.MountPoint)
	}
	for i, a := range s.Addresses {
		w.exec("INSERT INTO virtual_addresses VALUES (?, ?, ?, ?, ?, ?, ?)", id, i, a.Enabled, a.Device, prefix(a.Address), text(a.MasterAddress), text(a.SlaveAddress))
		for k, alias := range a.Aliases {
			w.exec("INSERT INTO virtual_aliases VALUES (?, ?, ?, ?)", id, i, k, prefix(alias))
		}
	}
	for i, v := range s.Services {
		w.exec("INSERT INTO services VALUES (?, ?, ?, ?)", id, i, v.Name, string(v.Placement))
	}
	w.exec("DELETE FROM revisions WHERE id <= ?", id-revisionsKept)
	return w.err
}

// writer runs statements until the first error.
type writer struct {
	ctx context.Context
	tx  *sql.Tx
	err error
}

func (w *writer) exec(statement string, args ...any) int64 {
	if w.err != nil {
		return 0
	}
	result, err := w.tx.ExecContext(w.ctx, statement, args...)
	if err != nil {
		w.err = err
		return 0
	}
	id, _ := result.LastInsertId() // SQLite always has one
	return id
}

// loadWhere reads the one revision that the condition selects.
func loadWhere(ctx context.Context, q queryer, condition string, args ...any) (ha.Settings, error) {
	var s ha.Settings
	var id, at int64
	err := q.QueryRowContext(ctx, "SELECT id, revision, saved_at, saved_by FROM revisions WHERE "+condition, args...).Scan(&id, &s.Revision, &at, &s.SavedBy)
	if errors.Is(err, sql.ErrNoRows) {
		return s, ErrNoSettings
	}
	if err != nil {
		return s, explain(SettingsFile, err)
	}
	s.SavedAt = time.Unix(0, at).UTC()
	for _, part := range []func(context.Context, queryer, int64, *ha.Settings) error{loadGeneral, loadHeartbeat, loadReplication, loadAddresses, loadServices} {
		if err := part(ctx, q, id, &s); err != nil {
			return ha.Settings{}, explain(SettingsFile, err)
		}
	}
	return s, nil
}

func loadGeneral(ctx context.Context, q queryer, id int64, s *ha.Settings) error {
	g := &s.General
	err := q.QueryRowContext(ctx, "SELECT active, master_node, slave_node, master_address, slave_address, mode FROM general WHERE revision_id = ?", id).
		Scan(&g.Active, &g.MasterNode, &g.SlaveNode, (*addrText)(&g.MasterAddress), (*addrText)(&g.SlaveAddress), &g.Mode)
	if err != nil {
		return fmt.Errorf("read the general settings: %w", err)
	}
	return each(ctx, q, "SELECT name, address FROM reference_points WHERE revision_id = ? ORDER BY position", id, func(scan scanner) error {
		var p ha.Reference
		err := scan(&p.Name, (*addrText)(&p.Address))
		g.References = append(g.References, p)
		return err
	})
}

func loadHeartbeat(ctx context.Context, q queryer, id int64, s *ha.Settings) error {
	h := &s.Heartbeat
	err := q.QueryRowContext(ctx, `SELECT cluster_id, profile, interval, dead_time, boot_wait, serial, master_serial, slave_serial, baud, sync_device, port
		FROM heartbeat WHERE revision_id = ?`, id).
		Scan(&h.ClusterID, &h.Profile, &h.Interval, &h.DeadTime, &h.BootWait, &h.Serial, &h.MasterSerial, &h.SlaveSerial, &h.Baud, &h.SyncDevice, &h.Port)
	if err != nil {
		return fmt.Errorf("read the heartbeat settings: %w", err)
	}
	return each(ctx, q, "SELECT device, send FROM beat_devices WHERE revision_id = ? ORDER BY position", id, func(scan scanner) error {
		var d ha.BeatDevice
		err := scan(&d.Device, &d.Send)
		h.Devices = append(h.Devices, d)
		return err
	})
}

func loadReplication(ctx context.Context, q queryer, id int64, s *ha.Settings) error {
	r := &s.Replication
	err := q.QueryRowContext(ctx, "SELECT rate, via_lan, master_address, slave_address FROM replication WHERE revision_id = ?", id).
		Scan(&r.Rate, &r.ViaLAN, (*addrText)(&r.MasterAddress), (*addrText)(&r.SlaveAddress))
	if err != nil {
		return fmt.Errorf("read the replication settings: %w", err)
	}
	return each(ctx, q, `SELECT name, number, master_backing, slave_backing, filesystem, mount_point
		FROM volumes WHERE revision_id = ? ORDER BY position`, id, func(scan scanner) error {
		var v ha.VolumeSetting
		err := scan(&v.Name, &v.Index, &v.MasterBacking, &v.SlaveBacking, &v.Filesystem, &v.MountPoint)
		r.Volumes = append(r.Volumes, v)
		return err
	})
}

func loadAddresses(ctx context.Context, q queryer, id int64, s *ha.Settings) error {
	err := each(ctx, q, `SELECT enabled, device, address, master_address, slave_address
		FROM virtual_addresses WHERE revision_id = ? ORDER BY position`, id, func(scan scanner) error {
		var a ha.VirtualAddress
		err := scan(&a.Enabled, &a.Device, (*prefixText)(&a.Address), (*addrText)(&a.MasterAddress), (*addrText)(&a.SlaveAddress))
		s.Addresses = append(s.Addresses, a)
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, q, "SELECT owner, address FROM virtual_aliases WHERE revision_id = ? ORDER BY owner, position", id, func(scan scanner) error {
		var owner int
		var alias netip.Prefix
		if err := scan(&owner, (*prefixText)(&alias)); err != nil {
			return err
		}
		if owner < 0 || owner >= len(s.Addresses) {
			return fmt.Errorf("%w: an alias belongs to no virtual address", ErrCorrupt)
		}
		s.Addresses[owner].Aliases = append(s.Addresses[owner].Aliases, alias)
		return nil
	})
}

func loadServices(ctx context.Context, q queryer, id int64, s *ha.Settings) error {
	return each(ctx, q, "SELECT name, placement FROM services WHERE revision_id = ? ORDER BY position", id, func(scan scanner) error {
		var v ha.ServiceSetting
		err := scan(&v.Name, &v.Placement)
		s.Services = append(s.Services, v)
		return err
	})
}

// scanner reads the columns of one row.
type scanner func(into ...any) error

// each calls do for every row of a query over one revision.
func each(ctx context.Context, q queryer, query string, id int64, do func(scanner) error) error {
	rows, err := q.QueryContext(ctx, query, id)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// addrText and prefixText read addresses from their text; empty text is the zero address.
type (
	addrText   netip.Addr
	prefixText netip.Prefix
)

// Scan implements sql.Scanner.
func (a *addrText) Scan(value any) error {
	s, ok := value.(string)
	if !ok || s == "" {
		*a = addrText{}
		return nil
	}
	parsed, err := netip.ParseAddr(s)
	*a = addrText(parsed)
	return err
}

// Scan implements sql.Scanner.
func (p *prefixText) Scan(value any) error {
	s, ok := value.(string)
	if !ok || s == "" {
		*p = prefixText{}
		return nil
	}
	parsed, err := netip.ParsePrefix(s)
	*p = prefixText(parsed)
	return err
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func prefix(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}
