//! Decodes everything in a segment and requires what holds for any bytes
//! whatever: results within the copy, in order, and no larger than it.

use shm_protocol::caches;
use shm_protocol::closes::{self, BadClose};
use shm_protocol::codes::Counter;
use shm_protocol::heap::ROWS;
use shm_protocol::layout::{DATA_AT, EXTENTS};
use shm_protocol::view::{
    BlockInfo, CacheInfo, DescriptorInfo, HeaderInfo, MAX_FRAMES, MAX_STRING, ModuleInfo,
    PointInfo, SiteInfo, ThingInfo, View, ViewError,
};

/// All that a reader can get out of a segment.
#[derive(Debug, PartialEq)]
pub struct Decoded {
    pub header: HeaderInfo,
    pub settings: Vec<(String, String)>,
    pub modules: Vec<ModuleInfo>,
    pub sites: Vec<SiteInfo>,
    pub blocks: Vec<BlockInfo>,
    pub descriptors: Vec<DescriptorInfo>,
    pub bad_closes: Vec<BadClose>,
    pub things: Vec<ThingInfo>,
    pub caches: Vec<CacheInfo>,
    pub torn: u64,
    pub refused: u64,
    pub cut_rows: u64,
}

/// Decodes and checks.
pub fn inspect(bytes: &[u8]) -> Result<Decoded, ViewError> {
    let view = View::new(bytes)?;
    extents(&view, bytes.len());
    let decoded = Decoded {
        header: view.header(),
        settings: view.settings(),
        modules: view.modules(),
        sites: view.sites(),
        blocks: view.blocks(),
        descriptors: view.descriptors(),
        bad_closes: view.bad_closes(),
        things: view.things(),
        caches: view.caches(),
        torn: view.torn(),
        refused: view.refused(),
        cut_rows: view.cut_rows(),
    };
    let room = bytes.len() - DATA_AT;
    decoded.require_sane(room);
    assert!(decoded.refused <= EXTENTS as u64);
    // Rows that can be torn: descriptors, the smallest, bound their number.
    assert!(decoded.torn <= room as u64 / 32);
    for counter in Counter::ALL {
        view.counter(counter);
    }
    for reference in [0, 0xFFFF, u64::MAX, bytes.len() as u64] {
        assert!(view.string(reference).len() <= 3 * MAX_STRING);
    }
    Ok(decoded)
}

/// Within the copy, and no byte twice.
fn extents(view: &View<'_>, length: usize) {
    let span = |extent: &shm_protocol::view::ExtentInfo| {
        let end = extent.rows.checked_mul(extent.row_bytes).unwrap();
        (extent.offset, extent.offset.checked_add(end).unwrap())
    };
    let mut spans: Vec<_> = view.extents().iter().map(span).collect();
    spans.sort_unstable();
    let mut last = DATA_AT;
    for (start, end) in spans {
        assert!(last <= start && start < end && end <= length);
        last = end;
    }
}

impl Decoded {
    fn require_sane(&self, room: usize) {
        // A lossy decoding makes three bytes of a wrong one.
        let paths: usize = self.modules.iter().map(|module| module.path.len()).sum();
        assert!(paths <= 3 * (room + DATA_AT));
        assert!(self.modules.is_sorted_by(|a, b| a.id < b.id));
        assert!(self.modules.iter().all(|m| m.build_id.len() <= 24));
        let settings = self.settings.iter().map(|(k, v)| k.len() + v.len());
        assert!(settings.sum::<usize>() <= 3 * room);
        self.require_sane_sites(room);
        assert!(self.blocks.len() <= room / 256 * ROWS);
        let whole = |block: &BlockInfo| block.address != 0 && block.address & 1 == 0;
        assert!(self.blocks.iter().all(whole));
        assert!(self.descriptors.len() <= room / 32);
        assert!(self.descriptors.is_sorted_by(|a, b| a.fd < b.fd));
        assert!(self.descriptors.iter().all(|row| row.info.kind != 0));
        assert!(self.caches.len() <= caches::ROWS);
        assert!(self.bad_closes.len() <= closes::ROWS);
        assert!(self.bad_closes.is_sorted_by_key(|c| c.origin.at_ms));
        assert!(self.things.len() <= room / 32);
        let whole = |thing: &ThingInfo| thing.key != 0 && thing.key & 1 == 0;
        assert!(self.things.iter().all(whole));
        assert!(self.things.iter().all(|thing| !thing.kind.is_descriptor()));
    }

    fn require_sane_sites(&self, room: usize) {
        assert!(self.sites.len() <= room / 960);
        assert!(self.sites.is_sorted_by(|a, b| a.id < b.id));
        for site in &self.sites {
            assert!(site.id != 0 && site.hash != 0 && site.frames.len() <= MAX_FRAMES);
            assert!(site.deaths <= site.births && site.bytes_died <= site.bytes_born);
            assert!(site.est_deaths <= site.est_births && site.est_births.is_finite());
            assert!(site.est_bytes_died <= site.est_bytes_born);
            let rises = |a: &PointInfo, b: &PointInfo| a.at_ms < b.at_ms && a.births <= b.births;
            assert!(site.points.is_sorted_by(rises));
            assert!(site.points.iter().all(|p| p.deaths <= p.births));
        }
    }
}
