//! Memory in small pages.
//!
//! The first thread that touches a huge page clears all of it. For two pages that takes a tenth of a millisecond; on a virtual
//! machine whose host also had to find the memory, it took two milliseconds, in the middle of a request. Fewer pages would save
//! less, even for millions of holds.

/// From here on the process gets no huge pages, whatever the machine's setting is.
pub fn keep_small() {
    // An old kernel, or one without huge pages, knows nothing of it.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
