package ha

// The reason codes. Each is declared once, here, with its sentence in reasonTexts; log, page, API and test share them.
const (
	ReasonStarting         Reason = "starting"
	ReasonBootWait         Reason = "boot_wait"
	ReasonAdopted          Reason = "adopted"
	ReasonUndone           Reason = "undone"
	ReasonPeerMaster       Reason = "peer_master"
	ReasonPeerAlive        Reason = "peer_alive"
	ReasonPeerMoving       Reason = "peer_moving"
	ReasonPeerFailed       Reason = "peer_failed"
	ReasonPeerUnfit        Reason = "peer_unfit"
	ReasonPeerPreferred    Reason = "peer_preferred"
	ReasonPeerSilent       Reason = "peer_silent"
	ReasonLinksFailed      Reason = "links_failed"
	ReasonHeartSilent      Reason = "heart_silent"
	ReasonHeartYoung       Reason = "heart_young"
	ReasonNeverHeard       Reason = "never_heard"
	ReasonProbing          Reason = "probing"
	ReasonPeerSick         Reason = "peer_sick"
	ReasonSickRipe         Reason = "sick_ripe"
	ReasonPeerDead         Reason = "peer_dead"
	ReasonPeerReset        Reason = "peer_reset"
	ReasonEngineGone       Reason = "engine_gone"
	ReasonReleased         Reason = "released"
	ReasonReleasedNoLone   Reason = "released_no_lone"
	ReasonSwitchOver       Reason = "switch_over"
	ReasonGivenAway        Reason = "given_away"
	ReasonHandedBack       Reason = "handed_back"
	ReasonDataAhead        Reason = "data_ahead"
	ReasonLastPrimary      Reason = "last_primary"
	ReasonConfiguredMaster Reason = "configured_master"
	ReasonRecordProves     Reason = "record_proves"
	ReasonNeverHadPeer     Reason = "never_had_peer"
	ReasonAloneNoVolume    Reason = "alone_no_volume"
	ReasonForced           Reason = "forced"
	ReasonAdministrator    Reason = "administrator"
	ReasonLeaving          Reason = "leaving"
	ReasonPromoted         Reason = "promoted"
	ReasonPromoteFailed    Reason = "promote_failed"
	ReasonStopFailed       Reason = "stop_failed"
	ReasonHigherEpoch      Reason = "higher_epoch"
	ReasonDataBehind       Reason = "data_behind"
	ReasonIsolated         Reason = "isolated"
	ReasonCutOffLately     Reason = "cut_off_lately"
	ReasonWokeLate         Reason = "woke_late"
	ReasonVolumeGone       Reason = "volume_gone"
	ReasonVolumeDied       Reason = "volume_died"
	ReasonRecovered        Reason = "recovered"
	ReasonHoldEnded        Reason = "hold_ended"
	ReasonLANGone          Reason = "lan_gone"
	ReasonLANCompared      Reason = "lan_compared"
	ReasonFailback         Reason = "failback"
	ReasonStandby          Reason = "standby"
	ReasonDisarmed         Reason = "disarmed"
	ReasonInactive         Reason = "ha_inactive"
	ReasonFlapLimit        Reason = "flap_limit"
	ReasonAlreadyMaster    Reason = "already_master"
	ReasonUnstored         Reason = "state_not_stored"
	ReasonPromoting        Reason = "promoting"
	ReasonDemoting         Reason = "demoting"
	ReasonFailed           Reason = "failed"
	ReasonNotMaster        Reason = "not_master"
	ReasonNoLicence        Reason = "no_licence"
	ReasonLicenceLate      Reason = "licence_late"
	ReasonLicencePromise   Reason = "licence_promise"
	ReasonVowed            Reason = "vowed"
	ReasonNoReference      Reason = "no_reference"
	ReasonReferenceLost    Reason = "reference_lost"
	ReasonSplitBrain       Reason = "split_brain"
	ReasonDiskOutdated     Reason = "disk_outdated"
	ReasonDiskInconsistent Reason = "disk_inconsistent"
	ReasonDiskConsistent   Reason = "disk_consistent"
	ReasonDiskFailed       Reason = "disk_failed"
	ReasonVolumeBlocked    Reason = "volume_blocked"
	ReasonDataUnproven     Reason = "data_unproven"
	ReasonDataMixed        Reason = "data_mixed"
	ReasonDataRefused      Reason = "data_refused"
	ReasonComparing        Reason = "comparing"
	ReasonOutdating        Reason = "outdating_peer"
	ReasonTimedOut         Reason = "timed_out"
	ReasonDone             Reason = "done"
	ReasonNoSuchVolume     Reason = "no_such_volume"
	ReasonVolumeConnected  Reason = "volume_connected"
	ReasonPeerOutdated     Reason = "peer_outdated"
	ReasonPeerLeft         Reason = "peer_left"
	ReasonPeerInconsistent Reason = "peer_inconsistent"
	ReasonPeerDiskFailed   Reason = "peer_disk_failed"
	ReasonPeerNoVolume     Reason = "peer_no_volume"
	ReasonPerson           Reason = "person"
	ReasonRivalServes      Reason = "rival_serves"
	ReasonNoSettings       Reason = "no_settings"
)

var reasonTexts = map[Reason]string{
	ReasonStarting:         "This node has just started.",
	ReasonBootWait:         "This node has just started and waits for the other one, at most for the boot wait of the Heartbeat page.",
	ReasonAdopted:          "The engine was restarted and found this node serving under its own epoch.",
	ReasonUndone:           "What an earlier boot or a crashed engine left in force is being taken down.",
	ReasonPeerMaster:       "The other node is the running master.",
	ReasonPeerAlive:        "The other node is alive.",
	ReasonPeerMoving:       "The other node is changing its role.",
	ReasonPeerFailed:       "The other node could not stop its services; nothing may start here until it is proven gone: restart that machine.",
	ReasonPeerUnfit:        "The other node could not serve now; its status says why: standby, a disk, a full state folder, a sync that is not done, or a link that does not answer.",
	ReasonPeerPreferred:    "The other node is the one to serve; this one stands by.",
	ReasonPeerSilent:       "Nothing is heard of the other node now; look at the heartbeat links, or try again when it counts as dead.",
	ReasonLinksFailed:      "All heartbeat links are silent, but the other node's volume answers: the links failed.",
	ReasonHeartSilent:      "This node's heart process does not report, so nothing is known of the other node; it is restarted by itself, else look at its log.",
	ReasonHeartYoung:       "This node's heart process has just started; it listens for the time-out before it judges the other node.",
	ReasonNeverHeard:       "The other node was not heard since this machine booted: start it, or check the heartbeat cables.",
	ReasonProbing:          "All links are quiet; the other node is being probed on every path.",
	ReasonPeerSick:         "Only the other node's kernel answers; its programs do not.",
	ReasonSickRipe:         "The other node's programs have been silent for the time-out, and nobody answers for the virtual addresses.",
	ReasonPeerDead:         "The other node has been silent for the time-out and answered no probe.",
	ReasonPeerReset:        "The other node has restarted its machine, so it no longer serves.",
	ReasonEngineGone:       "The other node's engine is gone and its volumes have revoked themselves.",
	ReasonReleased:         "The other node has given the role away.",
	ReasonReleasedNoLone:   "The other node has given the role away and acknowledged nothing alone.",
	ReasonSwitchOver:       "An administrator moves the role.",
	ReasonGivenAway:        "This node has given the role away; it waits for the other one to serve, or to hand it back.",
	ReasonHandedBack:       "The other node could not take the role and handed it back.",
	ReasonDataAhead:        "This node holds the newer data.",
	ReasonLastPrimary:      "Both copies are equal and this node was primary last.",
	ReasonConfiguredMaster: "Both nodes could serve and this one is the configured master.",
	ReasonRecordProves:     "This node was primary last, and its record proves that the other copy cannot be newer.",
	ReasonNeverHadPeer:     "The volumes never had a second copy.",
	ReasonAloneNoVolume:    "There is no volume, and the other node does not answer.",
	ReasonForced:           "An administrator started this node with its own data.",
	ReasonAdministrator:    "An administrator asked for it.",
	ReasonLeaving:          "This node is being stopped in order.",
	ReasonPromoted:         "Every step of the promotion succeeded.",
	ReasonPromoteFailed:    "A step of the last promotion failed, the events say which; it is tried again after a pause.",
	ReasonStopFailed:       "Something here could not be stopped, the events say what; restart this machine.",
	ReasonHigherEpoch:      "The other node serves under a higher epoch.",
	ReasonDataBehind:       "The other node's data are newer.",
	ReasonIsolated:         "This node is cut off: the other node confirms none of its beats and no reference point answers; check its cables.",
	ReasonCutOffLately:     "This node gave the role up because it was cut off; it takes it again when it hears the other node, or when its reference points have answered for a while.",
	ReasonWokeLate:         "This node was asleep; it must hear first that nobody replaced it.",
	ReasonVolumeGone:       "The volume does not work on this node: its process or its disk is away.",
	ReasonVolumeDied:       "The volume's process died and came back.",
	ReasonRecovered:        "The volume is in use again.",
	ReasonLANGone:          "The secure LAN is lost on this node; the other node reaches it and has all data.",
	ReasonLANCompared:      "The replication connection is lost: this node finds out first whether it has lost the secure LAN with it.",
	ReasonHoldEnded:        "Writes were held to the end of the hold and the other node could serve.",
	ReasonFailback:         "The configured master has been in sync for the failback delay.",
	ReasonStandby:          "This node is on standby: it must not become master; end standby to change that.",
	ReasonDisarmed:         "The pair is disarmed: nothing moves by itself; arm it to change that.",
	ReasonInactive:         "High availability is not active on the General page.",
	ReasonFlapLimit:        "Three automatic moves within an hour: the role stays where it is until the hour is over or a person moves it.",
	ReasonAlreadyMaster:    "This node is the running master already.",
	ReasonUnstored:         "This node's own state cannot be stored: make room in its state folder, or repair it.",
	ReasonPromoting:        "This node is becoming master now.",
	ReasonDemoting:         "This node is giving the role away now.",
	ReasonFailed:           "This node failed to stop something, the events say what; restart this machine.",
	ReasonNotMaster:        "This node is not the running master.",
	ReasonNoLicence:        "The volume's copy here may miss what the other node acknowledged since it was last heard; start the other node, or start with this node's data by force.",
	ReasonLicenceLate:      "This node was asleep while the other node may have gone on alone; start the other node, or start with this node's data by force.",
	ReasonVowed:            "The other node was told that there is no such volume here, so it may hold newer data; start it, or start with this node's data by force.",
	ReasonLicencePromise:   "The other node's promise to acknowledge nothing alone has run out, so its copy may be newer; start it, or start with this node's data by force.",
	ReasonNoReference:      "No reference point is configured, so a cut cannot be told from a death; add one on the General page.",
	ReasonReferenceLost:    "No reference point answers in time and without gaps, so this node may be the one that is cut off; check its secure LAN.",
	ReasonSplitBrain:       "Both copies were written without each other (split-brain); choose the survivor under Tools.",
	ReasonDiskOutdated:     "The volume's copy here is outdated: the other node went on without it; start the other node or restore the replication link, and it syncs.",
	ReasonDiskInconsistent: "The volume's copy here is inconsistent: a sync into it has not finished; start the other node or restore the replication link.",
	ReasonDiskConsistent:   "The volume's copy here is whole, but whether it is the newest is not known without the other node; start that one, or start with this node's data by force.",
	ReasonDiskFailed:       "The volume has no working disk on this node; mend it, or replace it and create the volume on it again; then `volume connect`.",
	ReasonVolumeBlocked:    "The volume cannot be used; its page says why.",
	ReasonDataUnproven:     "The other node is silent and may hold newer data; start it, or start with this node's data by force.",
	ReasonDataMixed:        "Of several volumes some are newer here and some there; a person must choose: start one node with its data by force.",
	ReasonDataRefused:      "The two copies cannot be compared; the volume's page says why.",
	ReasonComparing:        "Both nodes are alive and compare their data; neither serves before that is done.",
	ReasonOutdating:        "The other copy is being marked outdated before this node serves alone.",
	ReasonTimedOut:         "The other node did not do its part in time; nothing was changed here.",
	ReasonDone:             "Done.",
	ReasonNoSuchVolume:     "There is no volume of that name.",
	ReasonVolumeConnected:  "The volume is connected to the other node and holds nothing.",
	ReasonPeerOutdated:     "The other copy has stored that it is outdated.",
	ReasonPeerLeft:         "The other node has left in order and was not heard since.",
	ReasonPeerInconsistent: "The other copy has answered that it is inconsistent.",
	ReasonPeerDiskFailed:   "The other copy has answered that its disk failed.",
	ReasonPeerNoVolume:     "The other node has no such volume.",
	ReasonPerson:           "A person confirmed that the other copy may be left behind.",
	ReasonRivalServes:      "Both nodes serve; the one with the lower epoch or the older data yields.",
	ReasonNoSettings:       "No settings are in force on this node: none were ever saved here, or none can be read.",
}

// Text is the sentence of a reason: what and why, and what to do where a person can do something. A code that is not declared is its own text.
func (r Reason) Text() string {
	if s, ok := reasonTexts[r]; ok {
		return s
	}
	return string(r)
}

// blocker turns a reason into what Takeover lists.
func blocker(r Reason) Blocker { return Blocker{Code: string(r), Text: r.Text()} }
