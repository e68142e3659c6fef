//! Symbolic links inside volumes. The guest had the volume at its root; here it lies somewhere below the host's.

/// A link's target as it is to be read on the host, so that it leads to what it led to inside the volume: an absolute one
/// becomes relative, and none climbs above the volume by itself. The path is that of the link, volume first.
pub fn confined(path: &[u8], target: &[u8]) -> Vec<u8> {
    // Directories between the volume and the link.
    let depth = parts(path).count().saturating_sub(2);
    let is_absolute = target.starts_with(b"/");
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut level = if is_absolute { 0 } else { depth };
    let mut climbs_out = false;
    for part in parts(target) {
        match part {
            b".." if level == 0 => {
                climbs_out = true;
                continue;
            }
            b".." => level -= 1,
            b"." => {}
            _ => level += 1,
        }
        kept.push(part);
    }
    if !is_absolute && !climbs_out {
        return target.to_vec();
    }
    let up = if is_absolute { depth } else { 0 };
    let confined = [&b".."[..]].repeat(up).into_iter().chain(kept).collect::<Vec<_>>().join(&b'/');
    if confined.is_empty() { b".".to_vec() } else { confined }
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests;
