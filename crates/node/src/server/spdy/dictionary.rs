//! The dictionary that SPDY/3 compresses headers with: a constant of the protocol.

/// Header names; each stands in the dictionary behind its length.
const NAMES: &str = "\
    options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-langua\
    ge,accept-ranges,age,allow,authorization,cache-control,connection,content-base,content\
    -encoding,content-language,content-length,content-location,content-md5,content-range,c\
    ontent-type,date,etag,expect,expires,from,host,if-match,if-modified-since,if-none-matc\
    h,if-range,if-unmodified-since,last-modified,location,max-forwards,pragma,proxy-authen\
    ticate,proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encodi\
    ng,upgrade,user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,versi\
    on,HTTP/1.1,url,public,set-cookie,keep-alive,origin";

/// Values that headers often have.
const VALUES: &str = "\
    10010120120220520630030230330430530630740240540640740840941041141241341441541641750250\
    4505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Reques\
    t401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemente\
    d503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon\
    , Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,app\
    lication/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzi\
    p,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The 1,423 bytes of the protocol's dictionary.
pub fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1423);
    for name in NAMES.split(',') {
        bytes.extend_from_slice(&(name.len() as u32).to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes.extend_from_slice(VALUES.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum that every implementation announces (Adler-32).
    #[test]
    fn it_is_the_protocols() {
        let bytes = dictionary();
        let (mut a, mut b) = (1u32, 0u32);
        for byte in &bytes {
            a = (a + u32::from(*byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        assert_eq!((bytes.len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }
}
